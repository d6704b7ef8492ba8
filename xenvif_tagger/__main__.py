"""The entry point of the command, for hotplug/xenvif-tagger, pip's console script and
`python3 -m xenvif_tagger`."""
import signal


def run() -> None:
    """Run the command line.

    Until cli.main is imported and catches KeyboardInterrupt, Ctrl-C ends this process by SIGINT.
    Python's own handler would print a traceback and, in Python 3.6, exit with 1: our status for
    "not alike" (output.console).
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from .cli.main import main
    main()


if __name__ == "__main__":
    run()
