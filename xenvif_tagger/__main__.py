"""`python3 -m xenvif_tagger` runs the command where its console script is not installed."""

from .cli.main import main

if __name__ == "__main__":
    main()
