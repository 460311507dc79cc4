"""What was bought, on one page: `report.html` and the thumbnails beside it, made of the ledger and the clips."""
