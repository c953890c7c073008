"""The two ways a command can end badly; the command line turns them into one line on stderr."""


class InputError(ValueError):
    """Bad usage or bad input (exit code 2).

    The message is one line: what is wrong, where (option, file, line), and what would be right.
    """


class WorkError(RuntimeError):
    """The work itself failed (exit code 1): the disk filled up, the loss diverged, a file was cut short."""
