"""Processor time: user and system time of a process and of all its descendants."""

import psutil


def processor_seconds(pid: int) -> float:
    """The processor time of a process, its descendants, and those of them that have ended, since they started.

    When a process ends and its parent waits for it, the system adds its time to the parent's `children` times. So
    the difference of two results includes processes that started or ended in between, like PostgreSQL's backends.
    """
    root = psutil.Process(pid)
    while True:
        processes = [root, *root.children(recursive=True)]  # parents come before their children
        try:
            times = [process.cpu_times() for process in processes]
        except psutil.NoSuchProcess as ended:  # after its parent was read
            if ended.pid == pid:
                raise
            continue
        return float(sum(each.user + each.system + each.children_user + each.children_system for each in times))
