"""Users and roles: replicated, deterministic, without a clock. etcd's rules, and its errors.

Every change moves a revision of its own. Whoever calls is known by user and the revision as of which that was found
out; what is applied under a later one is refused, so that nobody does what it was just forbidden.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any, TypeVar

from proto.etcd import auth_pb2, rpc_pb2
from proto.steersman.v1 import store_pb2
from store.auth.permissions import READ, WRITE, Permissions
from store.auth.tokens import Tokens

ROOT = "root"
"""The user that there must be, and the role that may do everything."""


Named = TypeVar("Named")


class Reason(Enum):
    """Why something is refused: etcd's message, and the name of its gRPC code."""

    ROOT_USER_MISSING = ("root user does not exist", "FAILED_PRECONDITION")
    ROOT_ROLE_MISSING = ("root user does not have root role", "FAILED_PRECONDITION")
    USER_EXISTS = ("user name already exists", "FAILED_PRECONDITION")
    USER_EMPTY = ("user name is empty", "INVALID_ARGUMENT")
    USER_NOT_FOUND = ("user name not found", "FAILED_PRECONDITION")
    ROLE_EXISTS = ("role name already exists", "FAILED_PRECONDITION")
    ROLE_NOT_FOUND = ("role name not found", "FAILED_PRECONDITION")
    ROLE_EMPTY = ("role name is empty", "INVALID_ARGUMENT")
    FAILED = ("authentication failed, invalid user ID or password", "INVALID_ARGUMENT")
    DENIED = ("permission denied", "PERMISSION_DENIED")
    ROLE_NOT_GRANTED = ("role is not granted to the user", "FAILED_PRECONDITION")
    PERMISSION_NOT_GRANTED = ("permission is not granted to the role", "FAILED_PRECONDITION")
    PERMISSION_NOT_GIVEN = ("permission not given", "INVALID_ARGUMENT")
    NOT_ENABLED = ("authentication is not enabled", "FAILED_PRECONDITION")
    INVALID_TOKEN = ("invalid auth token", "UNAUTHENTICATED")
    INVALID_MANAGEMENT = ("invalid auth management", "INVALID_ARGUMENT")
    OLD_REVISION = ("revision of auth store is old", "INVALID_ARGUMENT")


class AuthRefused(Exception):
    """It may not be done, or makes no sense."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value[0])
        self.reason = reason
        self.code = reason.value[1]


KeysOf = Callable[[int], Iterable[bytes]]
"""The keys that hang on a lease."""


class Auth:
    """All users and roles."""

    def __init__(self, raw: bytes) -> None:
        """Read what `encode` gave; nothing: there were never any."""
        state = store_pb2.AuthState.FromString(raw)
        self.is_enabled = state.is_enabled
        self.revision = state.revision or 1
        self._users = {user.name.decode(): user for user in state.users}
        self._roles = {role.name.decode(): role for role in state.roles}
        self._permissions: dict[str, Permissions] = {}
        """Of users that asked for something since the last change."""
        self.tokens = Tokens()

    def encode(self) -> bytes:
        """Return the bytes on disk."""
        state = store_pb2.AuthState(is_enabled=self.is_enabled, revision=self.revision)
        state.users.extend(user for _, user in sorted(self._users.items()))
        state.roles.extend(role for _, role in sorted(self._roles.items()))
        return state.SerializeToString()

    # -- who there is

    @property
    def users(self) -> list[str]:
        """Names of all users, in order."""
        return sorted(self._users)

    @property
    def roles(self) -> list[str]:
        """Names of all roles, in order."""
        return sorted(self._roles)

    def user(self, name: str) -> auth_pb2.User:
        """Return a user.

        Raises:
            AuthRefused: there is none of that name.
        """
        return _found(self._users, name, Reason.USER_NOT_FOUND)

    def role(self, name: str) -> auth_pb2.Role:
        """Return a role.

        Raises:
            AuthRefused: there is none of that name.
        """
        return _found(self._roles, name, Reason.ROLE_NOT_FOUND)

    # -- who may do what

    def require_admin(self, caller: store_pb2.Caller) -> None:
        """Raise AuthRefused unless the caller may change anything."""
        if not self.is_enabled or caller.is_trusted:
            return
        if not caller.user:
            raise AuthRefused(Reason.USER_EMPTY)
        if ROOT not in self.user(caller.user).roles:
            raise AuthRefused(Reason.DENIED)

    def require(self, caller: store_pb2.Caller, kind: int, key: bytes, range_end: bytes = b"") -> None:
        """Raise AuthRefused unless the caller may read (READ) or write (WRITE) all keys of a range."""
        if not self.is_enabled or caller.is_trusted:
            return
        if not caller.auth_revision:
            raise AuthRefused(Reason.USER_EMPTY)
        if caller.auth_revision < self.revision:
            raise AuthRefused(Reason.OLD_REVISION)
        user = self._users.get(caller.user)
        if user is None or not (ROOT in user.roles or self._permissions_of(user).allow(kind, key, range_end)):
            raise AuthRefused(Reason.DENIED)

    def require_txn(self, caller: store_pb2.Caller, txn: rpc_pb2.TxnRequest, keys: KeysOf) -> None:
        """Raise AuthRefused unless the caller may do all that a transaction might do, whichever branches are taken.

        Whoever may not write the keys on a lease may not add others to it.
        """
        if not self.is_enabled or caller.is_trusted:
            return
        for compare in txn.compare:
            self.require(caller, READ, compare.key, compare.range_end)
        for branch in (txn.success, txn.failure):
            for op in branch:
                match op.WhichOneof("request"):
                    case "request_range":
                        self.require(caller, READ, op.request_range.key, op.request_range.range_end)
                    case "request_put":
                        self.require(caller, WRITE, op.request_put.key)
                        self.require_keys(caller, WRITE, keys(op.request_put.lease))
                        if op.request_put.prev_kv:
                            self.require(caller, READ, op.request_put.key)
                    case "request_delete_range":
                        delete = op.request_delete_range
                        self.require(caller, WRITE, delete.key, delete.range_end)
                        if delete.prev_kv:
                            self.require(caller, READ, delete.key, delete.range_end)
                    case "request_txn":
                        self.require_txn(caller, op.request_txn, keys)

    def require_keys(self, caller: store_pb2.Caller, kind: int, keys: Iterable[bytes]) -> None:
        """Raise AuthRefused unless the caller may read or write each of these keys."""
        for key in keys:
            self.require(caller, kind, key)

    def _permissions_of(self, user: auth_pb2.User) -> Permissions:
        name = user.name.decode()
        found = self._permissions.get(name)
        if found is None:
            found = Permissions(self._roles[role] for role in user.roles if role in self._roles)
            self._permissions[name] = found
        return found

    # -- changes

    def apply(self, change: store_pb2.AuthChange) -> bool:
        """Make a change; whether anything is to be kept for it.

        Raises:
            AuthRefused: nothing was changed.
        """
        kind = change.WhichOneof("change")
        assert kind is not None, "a change of users and roles of a kind this program does not know"
        is_changed: bool = getattr(self, f"_{kind}")(getattr(change, kind))
        if is_changed:
            self._permissions.clear()
        return is_changed

    def _enable(self, _: Any) -> bool:
        if self.is_enabled:
            return False
        root = self._users.get(ROOT)
        if root is None:
            raise AuthRefused(Reason.ROOT_USER_MISSING)
        if ROOT not in root.roles:
            raise AuthRefused(Reason.ROOT_ROLE_MISSING)
        self.is_enabled = True
        return True

    def _disable(self, _: Any) -> bool:
        if not self.is_enabled:
            return False
        self.is_enabled = False
        self.tokens.clear()
        return self._moved()

    def _authentication(self, request: store_pb2.Authentication) -> bool:
        if not self.is_enabled:
            raise AuthRefused(Reason.NOT_ENABLED)
        if request.user not in self._users:
            raise AuthRefused(Reason.FAILED)
        self.tokens.assign(request.token, request.user)
        return False  # tokens are kept in memory alone

    def _user_add(self, request: rpc_pb2.AuthUserAddRequest) -> bool:
        if not request.name:
            raise AuthRefused(Reason.USER_EMPTY)
        if request.name in self._users:
            raise AuthRefused(Reason.USER_EXISTS)
        user = auth_pb2.User(name=request.name.encode(), password=request.hashedPassword.encode())
        user.options.CopyFrom(request.options)
        self._users[request.name] = user
        return self._moved()

    def _user_delete(self, request: rpc_pb2.AuthUserDeleteRequest) -> bool:
        if self.is_enabled and request.name == ROOT:
            raise AuthRefused(Reason.INVALID_MANAGEMENT)
        self.user(request.name)
        del self._users[request.name]
        self.tokens.forget(request.name)
        return self._moved()

    def _user_change_password(self, request: rpc_pb2.AuthUserChangePasswordRequest) -> bool:
        self.user(request.name).password = request.hashedPassword.encode()
        self.tokens.forget(request.name)
        return self._moved()

    def _user_grant_role(self, request: rpc_pb2.AuthUserGrantRoleRequest) -> bool:
        user = self.user(request.user)
        if request.role != ROOT:
            self.role(request.role)
        if request.role in user.roles:
            return False
        user.roles.append(request.role)
        user.roles.sort()
        return self._moved()

    def _user_revoke_role(self, request: rpc_pb2.AuthUserRevokeRoleRequest) -> bool:
        if self.is_enabled and request.name == request.role == ROOT:
            raise AuthRefused(Reason.INVALID_MANAGEMENT)
        user = self.user(request.name)
        if request.role not in user.roles:
            raise AuthRefused(Reason.ROLE_NOT_GRANTED)
        user.roles.remove(request.role)
        return self._moved()

    def _role_add(self, request: rpc_pb2.AuthRoleAddRequest) -> bool:
        if not request.name:
            raise AuthRefused(Reason.ROLE_EMPTY)
        if request.name in self._roles:
            raise AuthRefused(Reason.ROLE_EXISTS)
        self._roles[request.name] = auth_pb2.Role(name=request.name.encode())
        return self._moved()

    def _role_delete(self, request: rpc_pb2.AuthRoleDeleteRequest) -> bool:
        if self.is_enabled and request.role == ROOT:
            raise AuthRefused(Reason.INVALID_MANAGEMENT)
        self.role(request.role)
        del self._roles[request.role]
        for user in self._users.values():
            if request.role in user.roles:
                user.roles.remove(request.role)
        return self._moved()

    def _role_grant_permission(self, request: rpc_pb2.AuthRoleGrantPermissionRequest) -> bool:
        if not request.HasField("perm"):
            raise AuthRefused(Reason.PERMISSION_NOT_GIVEN)
        role = self.role(request.name)
        for each in role.keyPermission:
            if (each.key, each.range_end) == (request.perm.key, request.perm.range_end):
                each.permType = request.perm.permType
                return self._moved()
        role.keyPermission.append(request.perm)
        role.keyPermission.sort(key=lambda each: each.key)
        return self._moved()

    def _role_revoke_permission(self, request: rpc_pb2.AuthRoleRevokePermissionRequest) -> bool:
        role = self.role(request.role)
        for each in role.keyPermission:
            if (each.key, each.range_end) == (request.key, request.range_end):
                role.keyPermission.remove(each)
                return self._moved()
        raise AuthRefused(Reason.PERMISSION_NOT_GRANTED)

    def _moved(self) -> bool:
        self.revision += 1
        return True


def _found(names: dict[str, Named], name: str, reason: Reason) -> Named:
    found = names.get(name)
    if found is None:
        raise AuthRefused(reason)
    return found
