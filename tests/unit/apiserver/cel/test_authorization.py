"""What expressions ask the authorizer."""

from apiserver.cel.authorization import METHODS, AuthorizerValue
from apiserver.request import Decision, RequestInfo, User


class Recorder:
    """An authorizer that allows everything and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[RequestInfo] = []

    def authorize(self, user: User, request: RequestInfo) -> Decision:
        self.asked.append(request)
        return Decision(True)


def test_a_check_is_about_what_it_was_narrowed_to() -> None:
    recorder = Recorder()
    value = AuthorizerValue(recorder, User("jane"), RequestInfo("create"))
    pods = METHODS["resource"](METHODS["group"](value, ""), "pods")
    narrowed = METHODS["labelSelector"](
        METHODS["fieldSelector"](METHODS["namespace"](pods, "a"), "spec.nodeName=n1"), "x=y"
    )
    METHODS["check"](narrowed, "list")
    assert recorder.asked == [RequestInfo("list", "", "", "*", "pods", "", "a", "", "spec.nodeName=n1", "x=y")]
