"""`python -m pipeline` is `clipmill`."""

from pipeline.cli.main import main

if __name__ == "__main__":
    main()
