"""`steer-apiserver`: parse settings, run until told to stop."""

from __future__ import annotations

import errno
import gc
import sys
from typing import Final

from apiserver.admission.configuration import BadConfiguration as BadAdmission
from apiserver.admission.plugin_names import BadNames
from apiserver.audit.policy import BadPolicy
from apiserver.auth.authorization import BadConfiguration as BadAuthorization
from apiserver.auth.oidc import BadSettings
from apiserver.encryption.configuration import BadConfiguration
from apiserver.server import Settings, run
from component import flags, logs, signals, tracing

COLLECT_AFTER: Final = (10_000, 5, 5)
"""When Python looks for garbage in cycles. A request makes many small objects and leaves hardly one in a cycle, so
looking as often as is the default (700) takes an eighth of all the time. Everything is looked at as often as then."""


def main() -> int:
    """Run the process; returns its exit code."""
    settings = flags.parse(Settings, prog="steer-apiserver")
    gc.set_threshold(*COLLECT_AFTER)
    logs.configure(settings.log_level, settings.log_format)
    tracing.start(settings.tracing_endpoint, "steer-apiserver")

    async def serve() -> None:
        code = 0  # raised at the end: early Python 3.11 wraps in a group what an except* block raises
        try:
            await run(settings)
        except* OSError as group:
            problem = group.exceptions[0]
            while isinstance(problem, BaseExceptionGroup):
                problem = problem.exceptions[0]
            assert isinstance(problem, OSError)
            if problem.errno == errno.EADDRINUSE:
                print(f"steer-apiserver: {problem.strerror or problem}; free the port or choose another with "
                      "--secure-port and --grpc-port", file=sys.stderr)  # fmt: skip
            else:
                print(f"steer-apiserver: {problem}", file=sys.stderr)
            code = 1
        except* (BadAdmission, BadAuthorization, BadConfiguration, BadNames, BadPolicy, BadSettings) as group:
            print(f"steer-apiserver: {group.exceptions[0]}", file=sys.stderr)
            code = 2
        if code:
            raise SystemExit(code)

    return signals.run(serve())


if __name__ == "__main__":
    sys.exit(main())
