"""Venice.ai: queue, retrieve, complete; the submit bills, and the status answer may be the video."""
