"""etcdserverpb.Auth: users, roles, and logging in. See `store.auth`."""

from __future__ import annotations

import secrets
import string
from collections.abc import Awaitable, Callable
from typing import Any

from proto.etcd import rpc_pb2
from proto.steersman.v1 import store_pb2
from store.auth.passwords import Passwords
from store.auth.state import AuthRefused, Reason
from store.replica import Replica
from store.serve.errors import PasswordNotTaken
from store.serve.server import Services

TOKEN_LETTERS = 24


class Auth:
    """The service's methods that do more than propose a change."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._passwords = Passwords()

    async def authenticate(self, request: rpc_pb2.AuthenticateRequest) -> rpc_pb2.AuthenticateResponse:
        await self._replica.read_index()
        state = self._replica.state.auth
        while True:
            if not state.is_enabled:
                raise AuthRefused(Reason.NOT_ENABLED)
            if request.name not in state.users:
                raise AuthRefused(Reason.FAILED)
            user, revision = state.user(request.name), state.revision
            if user.options.no_password:
                raise PasswordNotTaken
            if not await self._passwords.is_right(request.password, user.password):
                raise AuthRefused(Reason.FAILED)
            if revision != state.revision:
                continue  # it may have been another password
            letters = "".join(secrets.choice(string.ascii_letters) for _ in range(TOKEN_LETTERS))
            token = f"{letters}.{self._replica.status.applied}"
            await self.change(authentication=store_pb2.Authentication(user=request.name, token=token))
            return rpc_pb2.AuthenticateResponse(header=self._replica.header(), token=token)

    async def status(self, request: rpc_pb2.AuthStatusRequest) -> rpc_pb2.AuthStatusResponse:
        await self._replica.read_index()
        await self._replica.access.caller()
        state = self._replica.state.auth
        return rpc_pb2.AuthStatusResponse(
            header=self._replica.header(), enabled=state.is_enabled, authRevision=state.revision
        )

    async def user_add(self, request: rpc_pb2.AuthUserAddRequest) -> rpc_pb2.AuthUserAddResponse:
        await self._replica.access.require_admin()  # before the work of hashing
        hashed = "" if request.options.no_password else await self._passwords.hash(request.password)
        change = rpc_pb2.AuthUserAddRequest(name=request.name, options=request.options, hashedPassword=hashed)
        await self.change(user_add=change)
        return rpc_pb2.AuthUserAddResponse(header=self._replica.header())

    async def user_change_password(
        self, request: rpc_pb2.AuthUserChangePasswordRequest
    ) -> rpc_pb2.AuthUserChangePasswordResponse:
        await self._replica.access.require_admin()
        hashed = await self._passwords.hash(request.password)
        change = rpc_pb2.AuthUserChangePasswordRequest(name=request.name, hashedPassword=hashed)
        await self.change(user_change_password=change)
        return rpc_pb2.AuthUserChangePasswordResponse(header=self._replica.header())

    async def user_get(self, request: rpc_pb2.AuthUserGetRequest) -> rpc_pb2.AuthUserGetResponse:
        await self._require_own(lambda caller: caller.user == request.name)
        roles = self._replica.state.auth.user(request.name).roles
        return rpc_pb2.AuthUserGetResponse(header=self._replica.header(), roles=roles)

    async def user_list(self, request: rpc_pb2.AuthUserListRequest) -> rpc_pb2.AuthUserListResponse:
        await self._require_own(lambda caller: False)
        return rpc_pb2.AuthUserListResponse(header=self._replica.header(), users=self._replica.state.auth.users)

    async def role_get(self, request: rpc_pb2.AuthRoleGetRequest) -> rpc_pb2.AuthRoleGetResponse:
        state = self._replica.state.auth
        await self._require_own(
            lambda caller: caller.user in state.users and request.role in state.user(caller.user).roles
        )
        permissions = state.role(request.role).keyPermission
        return rpc_pb2.AuthRoleGetResponse(header=self._replica.header(), perm=permissions)

    async def role_list(self, request: rpc_pb2.AuthRoleListRequest) -> rpc_pb2.AuthRoleListResponse:
        await self._require_own(lambda caller: False)
        return rpc_pb2.AuthRoleListResponse(header=self._replica.header(), roles=self._replica.state.auth.roles)

    async def change(self, **change: Any) -> None:
        """Make the one change named."""
        await self._replica.change_auth(store_pb2.AuthChange(**change))

    async def _require_own(self, is_own: Callable[[store_pb2.Caller], bool]) -> None:
        """Bring this member up to date; then raise AuthRefused unless it is the caller's own affair, or the root's."""
        await self._replica.read_index()
        caller = await self._replica.access.caller()
        if caller is not None and not is_own(caller):
            self._replica.state.auth.require_admin(caller)


def add_to(services: Services, replica: Replica) -> None:
    """Add the service."""
    auth = Auth(replica)

    def changing(kind: str, response_class: Any) -> Callable[[Any], Awaitable[Any]]:
        """Return a method that does nothing but propose its request."""

        async def propose(request: Any) -> Any:
            await auth.change(**{kind: request})
            return response_class(header=replica.header())

        return propose

    methods: dict[str, tuple[Callable[[Any], Awaitable[Any]], Any]] = {
        "Authenticate": (auth.authenticate, rpc_pb2.AuthenticateRequest),
        "AuthStatus": (auth.status, rpc_pb2.AuthStatusRequest),
        "UserAdd": (auth.user_add, rpc_pb2.AuthUserAddRequest),
        "UserChangePassword": (auth.user_change_password, rpc_pb2.AuthUserChangePasswordRequest),
        "UserGet": (auth.user_get, rpc_pb2.AuthUserGetRequest),
        "UserList": (auth.user_list, rpc_pb2.AuthUserListRequest),
        "RoleGet": (auth.role_get, rpc_pb2.AuthRoleGetRequest),
        "RoleList": (auth.role_list, rpc_pb2.AuthRoleListRequest),
    }
    for name, kind in {
        "AuthEnable": "enable",
        "AuthDisable": "disable",
        "UserDelete": "user_delete",
        "UserGrantRole": "user_grant_role",
        "UserRevokeRole": "user_revoke_role",
        "RoleAdd": "role_add",
        "RoleDelete": "role_delete",
        "RoleGrantPermission": "role_grant_permission",
        "RoleRevokePermission": "role_revoke_permission",
    }.items():
        prefix = "" if name.startswith("Auth") else "Auth"
        request_class = getattr(rpc_pb2, f"{prefix}{name}Request")
        methods[name] = (changing(kind, getattr(rpc_pb2, f"{prefix}{name}Response")), request_class)
    services.add("etcdserverpb.Auth", methods)
