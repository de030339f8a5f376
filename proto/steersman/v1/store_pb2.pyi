from proto.etcd import rpc_pb2 as _rpc_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Requests(_message.Message):
    __slots__ = ("requests", "client")
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[Request]
    client: int
    def __init__(self, requests: _Optional[_Iterable[_Union[Request, _Mapping]]] = ..., client: _Optional[int] = ...) -> None: ...

class Request(_message.Message):
    __slots__ = ("id", "range", "txn", "compact", "again", "traceparent")
    ID_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    TXN_FIELD_NUMBER: _ClassVar[int]
    COMPACT_FIELD_NUMBER: _ClassVar[int]
    AGAIN_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    id: int
    range: _rpc_pb2.RangeRequest
    txn: _rpc_pb2.TxnRequest
    compact: _rpc_pb2.CompactionRequest
    again: bool
    traceparent: str
    def __init__(self, id: _Optional[int] = ..., range: _Optional[_Union[_rpc_pb2.RangeRequest, _Mapping]] = ..., txn: _Optional[_Union[_rpc_pb2.TxnRequest, _Mapping]] = ..., compact: _Optional[_Union[_rpc_pb2.CompactionRequest, _Mapping]] = ..., again: _Optional[bool] = ..., traceparent: _Optional[str] = ...) -> None: ...

class Replies(_message.Message):
    __slots__ = ("replies",)
    REPLIES_FIELD_NUMBER: _ClassVar[int]
    replies: _containers.RepeatedCompositeFieldContainer[Reply]
    def __init__(self, replies: _Optional[_Iterable[_Union[Reply, _Mapping]]] = ...) -> None: ...

class Reply(_message.Message):
    __slots__ = ("id", "range", "txn", "compact", "failure", "continues")
    ID_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    TXN_FIELD_NUMBER: _ClassVar[int]
    COMPACT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    CONTINUES_FIELD_NUMBER: _ClassVar[int]
    id: int
    range: _rpc_pb2.RangeResponse
    txn: _rpc_pb2.TxnResponse
    compact: _rpc_pb2.CompactionResponse
    failure: Failure
    continues: bool
    def __init__(self, id: _Optional[int] = ..., range: _Optional[_Union[_rpc_pb2.RangeResponse, _Mapping]] = ..., txn: _Optional[_Union[_rpc_pb2.TxnResponse, _Mapping]] = ..., compact: _Optional[_Union[_rpc_pb2.CompactionResponse, _Mapping]] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ..., continues: _Optional[bool] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("code", "message", "compact_revision")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    COMPACT_REVISION_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    compact_revision: int
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., compact_revision: _Optional[int] = ...) -> None: ...

class Entry(_message.Message):
    __slots__ = ("commands",)
    COMMANDS_FIELD_NUMBER: _ClassVar[int]
    commands: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, commands: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Command(_message.Message):
    __slots__ = ("id", "txn", "compact", "lease_grant", "lease_revoke", "lease_expiry", "alarm", "hash_check", "hash_report", "traceparent")
    ID_FIELD_NUMBER: _ClassVar[int]
    TXN_FIELD_NUMBER: _ClassVar[int]
    COMPACT_FIELD_NUMBER: _ClassVar[int]
    LEASE_GRANT_FIELD_NUMBER: _ClassVar[int]
    LEASE_REVOKE_FIELD_NUMBER: _ClassVar[int]
    LEASE_EXPIRY_FIELD_NUMBER: _ClassVar[int]
    ALARM_FIELD_NUMBER: _ClassVar[int]
    HASH_CHECK_FIELD_NUMBER: _ClassVar[int]
    HASH_REPORT_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    id: RequestId
    txn: _rpc_pb2.TxnRequest
    compact: _rpc_pb2.CompactionRequest
    lease_grant: _rpc_pb2.LeaseGrantRequest
    lease_revoke: _rpc_pb2.LeaseRevokeRequest
    lease_expiry: LeaseExpiry
    alarm: _rpc_pb2.AlarmRequest
    hash_check: HashCheck
    hash_report: HashReport
    traceparent: str
    def __init__(self, id: _Optional[_Union[RequestId, _Mapping]] = ..., txn: _Optional[_Union[_rpc_pb2.TxnRequest, _Mapping]] = ..., compact: _Optional[_Union[_rpc_pb2.CompactionRequest, _Mapping]] = ..., lease_grant: _Optional[_Union[_rpc_pb2.LeaseGrantRequest, _Mapping]] = ..., lease_revoke: _Optional[_Union[_rpc_pb2.LeaseRevokeRequest, _Mapping]] = ..., lease_expiry: _Optional[_Union[LeaseExpiry, _Mapping]] = ..., alarm: _Optional[_Union[_rpc_pb2.AlarmRequest, _Mapping]] = ..., hash_check: _Optional[_Union[HashCheck, _Mapping]] = ..., hash_report: _Optional[_Union[HashReport, _Mapping]] = ..., traceparent: _Optional[str] = ...) -> None: ...

class RequestId(_message.Message):
    __slots__ = ("client", "sequence", "again")
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    AGAIN_FIELD_NUMBER: _ClassVar[int]
    client: int
    sequence: int
    again: bool
    def __init__(self, client: _Optional[int] = ..., sequence: _Optional[int] = ..., again: _Optional[bool] = ...) -> None: ...

class LeaseExpiry(_message.Message):
    __slots__ = ("leases",)
    LEASES_FIELD_NUMBER: _ClassVar[int]
    leases: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, leases: _Optional[_Iterable[int]] = ...) -> None: ...

class HashCheck(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: int
    def __init__(self, id: _Optional[int] = ...) -> None: ...

class HashReport(_message.Message):
    __slots__ = ("id", "member", "revision", "compact_revision", "hash")
    ID_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    COMPACT_REVISION_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    id: int
    member: int
    revision: int
    compact_revision: int
    hash: int
    def __init__(self, id: _Optional[int] = ..., member: _Optional[int] = ..., revision: _Optional[int] = ..., compact_revision: _Optional[int] = ..., hash: _Optional[int] = ...) -> None: ...
