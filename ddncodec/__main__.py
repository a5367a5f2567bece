"""`python -m ddncodec` is the program `ddncodec`."""

from ddncodec_cli.app import main

if __name__ == "__main__":
    main()
