"""Everything that a program can try against the agent of its sandbox, the neighbours and the host, all at once.

usage: everything.py GO SECONDS [ATTACK…]

It says that it has begun, and waits for the file GO, so that several of them begin at once.
It runs as the sandbox's root, in processes of its own that ignore polite signals, and starts again what the kernel kills.
After SECONDS it stops every process that it can, its own shell and that shell's parent included, and waits to be ended.
"""

import ctypes
import mmap
import os
import pty
import resource
import select
import signal
import socket
import stat
import sys
import time

PRIVATE = "/run/sandshell"
BLOCK = b"garbage without end " * 3000
libc = ctypes.CDLL(None, use_errno=True)


def attempt(function, *arguments):
    """Does it if it can be done; a refusal is what is hoped for."""
    try:
        return function(*arguments)
    except (OSError, MemoryError, ValueError, BufferError):
        return None


def descriptors():
    """Takes every descriptor there is, of all kinds."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    attempt(resource.setrlimit, resource.RLIMIT_NOFILE, (hard, hard))
    kept = []
    makers = [os.pipe, pty.openpty, socket.socketpair, select.epoll, lambda: os.open("/dev/null", os.O_RDWR)]
    for _ in range(4000):
        kept.extend(attempt(make) for make in makers)
    time.sleep(1)
    os._exit(0)


def garbage():
    """Writes into, replaces and removes what the agent and the shells talk through."""
    for folder, folders, files in os.walk(PRIVATE):
        for name in files + folders:
            path = os.path.join(folder, name)
            status = attempt(os.lstat, path)
            if status and stat.S_ISFIFO(status.st_mode):
                for flags in (os.O_WRONLY, os.O_RDONLY):
                    fifo = attempt(os.open, path, flags | os.O_NONBLOCK)
                    if fifo is not None:
                        attempt(os.write, fifo, BLOCK) if flags == os.O_WRONLY else attempt(os.read, fifo, 65536)
                        os.close(fifo)
            elif status and stat.S_ISREG(status.st_mode):
                attempt(os.unlink, path)
                attempt(os.mkfifo, path)
        for name in ("out", "err", "command", "restore"):
            attempt(os.symlink, "/dev/full", os.path.join(folder, name))


def full():
    """Fills what is kept in memory."""
    for folder in (PRIVATE, "/dev/shm", "/run", "/tmp/everything"):
        file = attempt(open, os.path.join(folder, f"fill-{os.getpid()}"), "wb", 0)
        if file is None or "tmpfs" not in filesystem(folder):
            continue
        while attempt(file.write, BLOCK):
            pass
        file.close()


def disk():
    """Fills the disk with files that are written again and again; up to a bound, for where the sandbox has no limit."""
    for number in range(4):
        with open(f"/tmp/everything/disk-{number}", "wb", 0) as file:
            for _ in range((32 << 20) // len(BLOCK)):
                if not attempt(file.write, BLOCK):
                    break


def filesystem(folder):
    """The type of what is mounted there."""
    with open("/proc/self/mounts", encoding="utf-8", errors="replace") as mounts:
        return next((line.split()[2] for line in mounts if line.split()[1] == folder), "")


def storm():
    """Prints as fast as it is read, on everything."""
    terminal = attempt(os.open, "/dev/tty", os.O_WRONLY | os.O_NONBLOCK)
    for descriptor in (1, 2):
        os.set_blocking(descriptor, False)
    for _ in range(200):
        for descriptor in (1, 2, terminal):
            if descriptor is not None:
                attempt(os.write, descriptor, BLOCK)
        time.sleep(0.001)
    if terminal is not None:
        os.close(terminal)


def links():
    """Swaps directories with links out of the sandbox, under the feet of who measures it."""
    for number in range(100):
        name = f"/tmp/swapped-{number}"
        attempt(os.rmdir, name)
        attempt(os.symlink, "/usr/share", name)
        attempt(os.unlink, name)
        attempt(os.mkdir, name)


def zombies():
    """Ends children without looking at them."""
    for _ in range(50):
        if attempt(os.fork) == 0:
            os._exit(0)
    time.sleep(0.2)
    os._exit(0)


def bomb():
    """Forks out of every session and process group."""
    for _ in range(8):
        if attempt(os.fork) == 0:
            attempt(os.setsid)
    time.sleep(0.05)


def memory():
    """Takes memory until the kernel takes it back."""
    kept = []
    while True:
        kept.append(mmap.mmap(-1, 16 << 20))
        for page in range(0, 16 << 20, 4096):
            kept[-1][page] = 1


def first_process():
    """Ill-treats the agent: signals, scheduling, limits, the out-of-memory killer's favour."""
    for number in range(1, 65):
        attempt(os.kill, 1, number)
    for policy in (os.SCHED_IDLE, os.SCHED_BATCH):
        attempt(os.sched_setscheduler, 1, policy, os.sched_param(0))
    attempt(os.setpriority, os.PRIO_PROCESS, 1, 19)
    for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_DATA, resource.RLIMIT_CPU):
        attempt(resource.prlimit, 1, limit, (3, 3))
    score = attempt(open, "/proc/1/oom_score_adj", "w")
    if score:
        attempt(score.write, "1000")
        attempt(score.close)
    time.sleep(0.1)


def netlink():
    """Lets the kernel queue answers that nobody reads."""
    sockets = []
    for _ in range(8):
        one = attempt(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW, 0)
        if one is None:
            break
        sockets.append(one)
        one.setblocking(False)
        request = (20).to_bytes(4, "little") + b"\x12\x00\x01\x03" + bytes(12)
        for _ in range(100):
            attempt(one.send, request)
    time.sleep(0.5)


ATTACKS = [descriptors, garbage, full, disk, storm, links, zombies, bomb, memory, first_process, netlink]
CHOSEN = [attack for attack in ATTACKS if attack.__name__ in sys.argv[3:] or not sys.argv[3:]]


def start(attack):
    """A process that does this for ever, and ignores what it can."""
    child = attempt(os.fork)
    if child != 0:
        return child
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    while True:
        attempt(attack)


def main():
    """Starts all, again and again, and stops all in the end."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.makedirs("/tmp/everything", exist_ok=True)
    print("begun", flush=True)
    while not os.path.exists(sys.argv[1]):
        time.sleep(0.01)
    end = time.monotonic() + float(sys.argv[2])
    running = {}
    while time.monotonic() < end:
        for attack in CHOSEN:
            if attack not in running.values():
                child = start(attack)
                if child:
                    running[child] = attack
        try:
            child, _ = os.waitpid(-1, os.WNOHANG)
            running.pop(child, None)
        except ChildProcessError:
            pass
        time.sleep(0.02)
    # All but the agent and this process itself.
    while True:
        attempt(os.kill, -1, signal.SIGSTOP)
        time.sleep(0.1)


main()
