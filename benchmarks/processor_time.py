"""Processor time: user and system time of a process and of all its descendants."""

import psutil


def processor_seconds(pid: int) -> float:
    """Returns the processor time of a process and of all its descendants, since they started.

    When a process has ended, the system adds its time to the `children` times of its parent. So the difference of two
    results includes processes that started or ended in between, like PostgreSQL's backends.
    """
    root = psutil.Process(pid)
    while True:
        processes = [root, *root.children(recursive=True)]  # parents come before their children
        try:
            times = [process.cpu_times() for process in processes]
        except psutil.NoSuchProcess as ended:
            if ended.pid == pid:
                raise
            continue  # this process ended after its parent was read: the sum may lack its time
        return float(sum(each.user + each.system + each.children_user + each.children_system for each in times))
