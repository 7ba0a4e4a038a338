"""A server that talks over its standard input and output: a line is a message, in both directions (MCP, stdio).

It is the leader of its own session and group, and ends with whoever started it. Lines are bounded; what it says on
its standard error goes to a log, bounded and without the values that are secret.
"""

import asyncio
import contextlib
import os
import resource
import shutil
import signal
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import structlog

from interlock_common.errors import Unavailable, UpstreamFailed
from interlock_common.lifeline import die_with_parent

_log = structlog.get_logger()
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ")
"""What a command finds in its environment besides what it is given."""

_STDIN_SECONDS = 30.0
_STOP_SECONDS = 3.0
_STDERR_LINE = 2000
_STDERR_LINES = 200
_STDERR_WINDOW = 60.0
_SHORTEST_SECRET = 4


class ServerGone(Unavailable):
    """The server has ended, or no longer reads or writes as it must."""

    code = "server_gone"


class CommandUnusable(UpstreamFailed):
    """The command cannot be started at all."""

    code = "command_unusable"
    retryable = False


@dataclass(frozen=True)
class Start:
    """What to run; ``secrets`` are values of the environment that no log may show, ``data`` bytes of memory."""

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str]
    directory: str = ""
    secrets: Collection[str] = ()
    data: int = 0
    max_line: int = 4 * 1024 * 1024


def inherited_environment() -> dict[str, str]:
    return {name: os.environ[name] for name in INHERITED if name in os.environ}


class StdioProcess:
    """A running server. ``receive`` is for one reader; anyone may ``send``."""

    def __init__(self, start: Start, process: asyncio.subprocess.Process) -> None:
        self.pid = process.pid
        self._start = start
        self._process = process
        self._reason = ""
        self._logging = asyncio.create_task(self._log_errors(), name=f"errors of {start.name}")

    @classmethod
    async def begin(cls, start: Start) -> "StdioProcess":
        """Start the command; raises CommandUnusable when that is not possible."""
        program = shutil.which(start.argv[0], path=start.environment.get("PATH"))
        if program is None:
            raise CommandUnusable(f"the command {start.argv[0]!r} of {start.name} is not to be found")
        try:
            process = await asyncio.create_subprocess_exec(
                program, *start.argv[1:],
                env=dict(start.environment),
                cwd=start.directory or None,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=start.max_line,
                start_new_session=True,
                preexec_fn=die_with_parent,  # one system call through a function that is bound already
            )  # fmt: skip
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it holds a null byte"
            raise CommandUnusable(f"the command {start.argv[0]!r} of {start.name} does not start: {reason}") from None
        _limit(process.pid, start.data)
        return cls(start, process)

    async def send(self, message: bytes) -> None:
        """Write one message; raises ServerGone where the server ended or does not read."""
        stdin = self._process.stdin
        if stdin is None or self._process.returncode is not None:
            raise self.gone()
        # Between the tokens of a JSON text a line end is white space, and inside strings it is always escaped.
        stdin.write(message.replace(b"\n", b" ").replace(b"\r", b" ") + b"\n")
        try:
            async with asyncio.timeout(_STDIN_SECONDS):
                await stdin.drain()
        except TimeoutError:
            self.kill(f"did not read its input for {_STDIN_SECONDS:g} s")
            raise self.gone() from None
        except OSError:
            raise self.gone() from None

    async def receive(self) -> bytes:
        """The next line that is not empty; raises ServerGone at the end."""
        stdout = self._process.stdout
        while stdout is not None:
            try:
                line = await stdout.readuntil(b"\n")
            except asyncio.IncompleteReadError:
                break
            except asyncio.LimitOverrunError:
                self.kill(f"wrote a line over {self._start.max_line} bytes")
                break
            if stripped := line.strip():
                return stripped
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                await self._process.wait()
        raise self.gone()

    def gone(self) -> ServerGone:
        """Why the server can no longer be used."""
        code = self._process.returncode
        if self._reason:
            how = self._reason
        elif code is None:
            how = "closed its output"
        else:
            how = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return ServerGone(f"the server process of {self._start.name} {how}")

    def kill(self, reason: str) -> None:
        """End it at once, and say why to whoever asks."""
        self._reason = self._reason or reason
        _log.warning("a server process is killed", server=self._start.name, pid=self.pid, reason=reason)
        signal_group(self.pid, signal.SIGKILL)

    async def close(self) -> None:
        """End it: its input ends, then it is asked to, then it is not asked any more; all of its group."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self._process.returncode is None:
            signal_group(self.pid, signal.SIGCONT)
            signal_group(self.pid, signal.SIGTERM)
            try:
                async with asyncio.timeout(_STOP_SECONDS):
                    await self._process.wait()
            except TimeoutError:
                signal_group(self.pid, signal.SIGKILL)
                await self._process.wait()
        signal_group(self.pid, signal.SIGKILL)  # whatever it left behind in its group
        self._logging.cancel()
        await asyncio.gather(self._logging, return_exceptions=True)
        transport = getattr(self._process, "_transport", None)
        if transport is not None:  # pipes that grandchildren hold open would keep it until they end
            transport.close()

    async def _log_errors(self) -> None:
        stderr, loop = self._process.stderr, asyncio.get_running_loop()
        window, lines = loop.time(), 0
        while stderr is not None and (line := await _line(stderr)):
            if loop.time() - window > _STDERR_WINDOW:
                window, lines = loop.time(), 0
            lines += 1
            if lines <= _STDERR_LINES:
                _log.info(
                    "server process says", server=self._start.name, pid=self.pid, text=self._without_secrets(line)
                )
            elif lines == _STDERR_LINES + 1:
                _log.warning("server process says too much", server=self._start.name, seconds=_STDERR_WINDOW)

    def _without_secrets(self, line: bytes) -> str:
        text = line.decode("utf-8", "replace").rstrip()
        for secret in self._start.secrets:
            if len(secret) >= _SHORTEST_SECRET:
                text = text.replace(secret, "[redacted]")
        return text[:_STDERR_LINE]


async def _line(reader: asyncio.StreamReader) -> bytes:
    """The next line, empty at the end; of one without end a piece that says so."""
    try:
        return await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError as error:
        return error.partial
    except asyncio.LimitOverrunError as error:
        await reader.readexactly(error.consumed)
        return b"(a line that is too long)"


def signal_group(pid: int, number: signal.Signals) -> None:
    """Signal the whole group of a process; one that has ended is no error."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _limit(pid: int, data: int) -> None:
    """What the kernel holds the process and its children to, from its first moments on.

    ``RLIMIT_DATA`` and not the address space: JavaScript engines reserve gigabytes of addresses they never use.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError, ValueError):
        resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
        if data:
            resource.prlimit(pid, resource.RLIMIT_DATA, (data, data))
        os.setpriority(os.PRIO_PROCESS, pid, 5)
