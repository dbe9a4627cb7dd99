"""Names of the standard library that exist in other Pythons than this one: later versions, other systems."""

from __future__ import annotations

import sys

LATER: dict[str, dict[str, str]] = {
    "3.12": {
        "calendar": "Month Day JANUARY FEBRUARY",
        "inspect": "markcoroutinefunction getasyncgenstate getasyncgenlocals BufferFlags",
        "itertools": "batched",
        "math": "sumprod",
        "os": "listdrives listmounts listvolumes unshare setns pidfd_open",
        "os.path": "isjunction splitroot isreserved isdevdrive",
        "random": "binomialvariate",
        "sqlite3": "LEGACY_TRANSACTION_CONTROL",
        "sys": "monitoring activate_stack_trampoline is_stack_trampoline_active last_exc",
        "threading": "settrace_all_threads setprofile_all_threads",
        "types": "get_original_bases",
        "typing": "override TypeAliasType",
    },
    "3.13": {
        "base64": "z85encode z85decode",
        "copy": "replace",
        "dis": "hasjump",
        "enum": "EnumDict",
        "glob": "translate",
        "math": "fma",
        "os": "process_cpu_count timerfd_create ptsname grantpt unlockpt posix_openpt",
        "pathlib": "UnsupportedOperation",
        "queue": "ShutDown",
        "random": "main",
        "re": "PatternError",
        "statistics": "kde kde_random",
        "types": "CapsuleType",
        "typing": "NoDefault ReadOnly TypeIs get_protocol_members is_protocol",
        "warnings": "deprecated",
    },
    "3.14": {
        "ast": "compare TemplateStr Interpolation",
        "functools": "Placeholder",
        "heapq": "heapify_max heappush_max heappop_max heapreplace_max heappushpop_max",
        "io": "Reader Writer",
        "operator": "is_none is_not_none",
        "os": "reload_environ readinto",
        "pathlib": "types",
        "sys": "remote_exec is_remote_debug_enabled",
        "typing": "evaluate_forward_ref",
        "uuid": "uuid6 uuid7 uuid8 NIL MAX",
    },
}
"""By version: what it brought, names by module."""
LATER_MODULES = {
    "annotationlib": "3.14",
    "compression": "3.14",
    "compression.zstd": "3.14",
    "concurrent.interpreters": "3.14",
    "pathlib.types": "3.14",
    "string.templatelib": "3.14",
}
LATER_BUILTINS = {"PythonFinalizationError": "3.13"}
SYSTEMS: dict[str, str] = {
    "os": (
        "startfile add_dll_directory O_BINARY O_TEXT O_NOINHERIT O_RANDOM O_SEQUENTIAL O_SHORT_LIVED O_TEMPORARY "
        "P_DETACH P_OVERLAY get_handle_inheritable set_handle_inheritable "
        "chflags lchflags lchmod plock O_EXLOCK O_SHLOCK SF_MNOWAIT "
        "fork forkpty getuid geteuid getgid getegid getpgid getpgrp getsid getloadavg getgroups getlogin setuid setgid "
        "setsid setpgrp setpgid uname chown lchown fchown fchmod chroot nice wait wait3 wait4 killpg mkfifo mknod "
        "major minor statvfs fstatvfs sysconf confstr pathconf openpty ttyname tcgetpgrp tcsetpgrp sched_getaffinity "
        "sched_setaffinity sched_yield sync posix_spawn pipe2 sendfile pread pwrite memfd_create eventfd getrandom "
        "getxattr setxattr listxattr removexattr WNOHANG WIFEXITED WEXITSTATUS WIFSIGNALED WTERMSIG initgroups"
    ),
    "signal": (
        "CTRL_C_EVENT CTRL_BREAK_EVENT SIGBREAK SIGEMT SIGINFO SIGKILL SIGALRM SIGHUP SIGUSR1 SIGUSR2 SIGCHLD SIGSTOP "
        "SIGCONT SIGTSTP SIGQUIT SIGPIPE SIGWINCH alarm pause setitimer getitimer sigwait pthread_kill"
    ),
    "socket": "SIO_RCVALL SIO_KEEPALIVE_VALS RCVALL_ON RCVALL_OFF AF_UNIX AF_PACKET AF_BLUETOOTH SO_REUSEPORT",
    "subprocess": (
        "STARTUPINFO STARTF_USESHOWWINDOW STARTF_USESTDHANDLES SW_HIDE CREATE_NEW_CONSOLE CREATE_NEW_PROCESS_GROUP "
        "CREATE_NO_WINDOW CREATE_DEFAULT_ERROR_MODE CREATE_BREAKAWAY_FROM_JOB DETACHED_PROCESS HIGH_PRIORITY_CLASS "
        "IDLE_PRIORITY_CLASS NORMAL_PRIORITY_CLASS BELOW_NORMAL_PRIORITY_CLASS ABOVE_NORMAL_PRIORITY_CLASS "
        "REALTIME_PRIORITY_CLASS STD_INPUT_HANDLE STD_OUTPUT_HANDLE STD_ERROR_HANDLE Handle"
    ),
    "sys": "getwindowsversion winver dllhandle setdlopenflags getdlopenflags abiflags",
    "time": "tzset clock_getres clock_gettime clock_settime CLOCK_MONOTONIC CLOCK_REALTIME pthread_getcpuclockid",
}
"""Names that some operating systems have and others have not."""


def later_version(module: str, name: str) -> str:
    """The Python version (``"3.12"``) that brought a name to a module, if it is later than this; else ''."""
    for version, modules in LATER.items():
        if name in modules.get(module, "").split():
            return _if_later(version)
    return _if_later(LATER_MODULES.get(f"{module}.{name}", ""))


def later_module(module: str) -> str:
    """The Python version that brought a module, if it is later than this; else ''."""
    return _if_later(LATER_MODULES.get(module, ""))


def later_builtin(name: str) -> str:
    """The Python version that brought a built-in name, if it is later than this; else ''."""
    return _if_later(LATER_BUILTINS.get(name, ""))


def depends_on_system(module: str, name: str) -> bool:
    """Whether a name of a module is there on some operating systems only."""
    return name in SYSTEMS.get(module, "").split()


def _if_later(version: str) -> str:
    return version if version and tuple(map(int, version.split("."))) > sys.version_info[:2] else ""
