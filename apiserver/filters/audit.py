"""What is told of requests: audit events by policy, or one plain line a request.

Both stand behind authentication, since who asked is the first thing told. What a call's `annotations` hold by its end
is told, too: the authorizer's decision, what admission had to say.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from api.errors import ApiError, InternalError, Unauthorized
from apiserver.audit.event import Outcome, render
from apiserver.audit.log import AuditLog
from apiserver.audit.policy import NAMES, Level, Stage, Verdict
from apiserver.filters.timeout import is_stream
from apiserver.request import Answer, Call, Handler, RequestInfo, User
from apiserver.verbs.list import ListAnswer
from component.clock import Clock
from component.metrics import Family, Gauge, Tally

log = logging.getLogger("audit")


class Auditor:
    """Writes the audit log.

    Args:
        decide: what is told of a request.
        sink: where it goes.
        clock: for timestamps.
        new_id: makes the id of a request that came without one.
    """

    def __init__(
        self,
        decide: Callable[[User, RequestInfo], Verdict],
        sink: AuditLog,
        clock: Clock,
        new_id: Callable[[], str],
    ) -> None:
        self._decide = decide
        self._sink = sink
        self._clock = clock
        self._new_id = new_id
        self._events = Tally("apiserver_audit_event_total", "Audit events made.")
        self._levels = Tally("apiserver_audit_level_total", "Requests by the level they were audited at.", ("level",))

    def families(self) -> list[Family]:
        """Return its metrics."""
        errors = Gauge("apiserver_audit_error_total", "Audit events that could not be written.",
                       lambda: {("log",): float(self._sink.errors)}, ("plugin",))  # fmt: skip
        return [self._events, self._levels, errors]

    def wrap(self, then: Handler) -> Handler:
        """Return `then`, audited."""

        async def handle(call: Call) -> Any:
            user = call.user
            verdict = self._decide(user, call.info)
            self._levels.add((NAMES[verdict.level],))
            if verdict.level is Level.NONE:
                return await then(call)
            call.audit_id = call.audit_id or self._new_id()
            received_at = self._clock.now()

            def tell(stage: Stage, outcome: Outcome | None = None) -> None:
                if stage.value not in verdict.omitted:
                    self._write(call, verdict, stage, user, received_at, outcome)

            tell(Stage.REQUEST_RECEIVED)
            try:
                answer = await then(call)
            except ApiError as error:
                # The failure filter has made an InternalError of what nobody expected.
                is_panic = isinstance(error, InternalError) and error.__cause__ is not None
                tell(Stage.PANIC if is_panic else Stage.RESPONSE_COMPLETE, Outcome(error.code, error))
                raise
            if isinstance(answer, (Answer, ListAnswer)) or not _goes_on(call):
                tell(Stage.RESPONSE_COMPLETE, Outcome(getattr(answer, "code", 200), answer=answer))
            else:
                # The door carries a stream from here on, and says when it is over.
                code = 101 if call.info.subresource in ("exec", "attach", "portforward") else 200
                tell(Stage.RESPONSE_STARTED, Outcome(code))
                call.on_finish.append(lambda: tell(Stage.RESPONSE_COMPLETE, Outcome(code)))
            return answer

        return handle

    def tell_unauthenticated(self, call: Call, error: Unauthorized) -> None:
        """Write that somebody tried to be who they are not."""
        nobody = User("")
        verdict = self._decide(nobody, call.info)
        if verdict.level is Level.NONE or Stage.RESPONSE_STARTED.value in verdict.omitted:
            return
        call.audit_id = call.audit_id or self._new_id()
        call.user = nobody
        method = "bearer" if call.credentials.token else "x509"
        told = Unauthorized(f"Authentication failed, attempted: {method}")
        plain = Verdict(Level.METADATA, verdict.omitted)
        self._write(call, plain, Stage.RESPONSE_STARTED, nobody, self._clock.now(), Outcome(error.code, told))

    def _write(
        self, call: Call, verdict: Verdict, stage: Stage, user: User, received_at: float, outcome: Outcome | None
    ) -> None:
        self._events.add()
        self._sink.write(render(call, verdict, stage, user, received_at, self._clock.now(), outcome))


def _goes_on(call: Call) -> bool:
    return call.info.verb == "watch" or is_stream(call)


def with_lines(then: Handler, clock: Clock) -> Handler:
    """Return `then`, with one line in the process's log for each request; never a body, so never a Secret's value."""

    async def handle(call: Call) -> Any:
        started = clock.monotonic()
        code = 500
        try:
            answer = await then(call)
            code = getattr(answer, "code", 200)
            return answer
        except ApiError as error:
            code = error.code
            raise
        finally:
            info = call.info
            resource = f"{info.plural}.{info.group}" if info.group else info.plural
            if info.subresource:
                resource += f"/{info.subresource}"
            extra = {"user": call.user.name, "verb": info.verb, "code": code, "remote": call.remote}
            extra |= {"agent": call.user_agent, "ms": round((clock.monotonic() - started) * 1000, 1)}
            if resource:
                extra |= {"resource": resource, "namespace": info.namespace, "object": info.name}
            else:
                extra["path"] = info.path
            log.info("request", extra=extra)

    return handle
