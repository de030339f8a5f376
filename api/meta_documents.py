"""What is served beside objects, as messages: groups, their versions and what is in them. Only numbers matter here.

`apiserver.discovery` makes them as JSON; `of_json` is how they get from there to protobuf.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from api.meta import ListMeta, ObjectMeta
from api.schema import Struct, field, wire


class ServerAddressByClientCIDR(Struct):
    """Where clients of a network find this server.

    Attributes:
        client_cidr: The network that such clients are in.
        server_address: The address, HOST:PORT.
    """

    client_cidr: Annotated[str, wire(1)] = field(name="clientCIDR", default="")
    server_address: Annotated[str, wire(2)] = ""


class APIVersions(Struct):
    """The versions of the core group.

    Attributes:
        versions: Their names.
        server_addresses: Where clients find this server.
    """

    versions: Annotated[list[str], wire(1)] = []
    server_addresses: Annotated[list[ServerAddressByClientCIDR], wire(2)] = field(
        name="serverAddressByClientCIDRs", default_factory=list
    )


class GroupVersionForDiscovery(Struct):
    """One version of a group.

    Attributes:
        group_version: Both, such as apps/v1.
        version: The latter part of it, such as v1.
    """

    group_version: Annotated[str, wire(1)] = ""
    version: Annotated[str, wire(2)] = ""


class APIGroup(Struct):
    """A group, and the versions in which its kinds are served.

    Attributes:
        name: What the group is called, such as apps.
        versions: What it is served in.
        preferred_version: What to use of those.
        server_addresses: Where clients find its server.
    """

    name: Annotated[str, wire(1)] = ""
    versions: Annotated[list[GroupVersionForDiscovery], wire(2)] = []
    preferred_version: Annotated[GroupVersionForDiscovery, wire(3)] = field(default_factory=GroupVersionForDiscovery)
    server_addresses: Annotated[list[ServerAddressByClientCIDR], wire(4)] = field(
        name="serverAddressByClientCIDRs", default_factory=list
    )


class APIGroupList(Struct):
    """All groups but the core one.

    Attributes:
        groups: What is told of each, sorted as clients should prefer them.
    """

    groups: Annotated[list[APIGroup], wire(1)] = []


class Verbs(Struct):
    """What can be done with a kind: a list in JSON, a message that holds it on the wire.

    Attributes:
        items: What requests may be, such as get and watch.
    """

    items: Annotated[list[str], wire(1)] = []


class APIResource(Struct):
    """A kind, or a subresource of one, as it is found in its group.

    Attributes:
        name: Its plural, or the plural and the subresource.
        singular_name: What one object is called, such as pod.
        namespaced: Whether its objects are in namespaces.
        kind: What objects of it say they are, such as Pod.
        verbs: What can be done with it.
        short_names: What else it is called.
        categories: Which names of several kinds it goes under.
        group: The kind's group, where it is another one.
        version: The kind's version, where it is another one.
        storage_version_hash: Tells versions apart in which its objects are stored.
    """

    name: Annotated[str, wire(1)] = ""
    singular_name: Annotated[str, wire(6)] = ""
    namespaced: Annotated[bool, wire(2)] = False
    kind: Annotated[str, wire(3)] = ""
    verbs: Annotated[Verbs | None, wire(4)] = None
    short_names: Annotated[list[str], wire(5)] = []
    categories: Annotated[list[str], wire(7)] = []
    group: Annotated[str, wire(8)] = ""
    version: Annotated[str, wire(9)] = ""
    storage_version_hash: Annotated[str, wire(10)] = ""


class APIResourceList(Struct):
    """What is in one version of a group.

    Attributes:
        group_version: Both, such as apps/v1.
        resources: The kinds and their subresources.
    """

    group_version: Annotated[str, wire(1)] = ""
    resources: Annotated[list[APIResource], wire(2)] = []


class GroupVersionKind(Struct):
    """A kind, by its full name.

    Attributes:
        group: Its group, empty for the core one.
        version: One of the group's.
        kind: What objects of it say they are, such as Pod.
    """

    group: Annotated[str, wire(1)] = ""
    version: Annotated[str, wire(2)] = ""
    kind: Annotated[str, wire(3)] = ""


class APISubresourceDiscovery(Struct):
    """A subresource, as an aggregated document tells of it.

    Attributes:
        subresource: Its name, such as scale.
        response_kind: What answers are.
        accepted_types: What requests may hold beside that.
        verbs: What can be done with it.
    """

    subresource: Annotated[str, wire(1)] = ""
    response_kind: Annotated[GroupVersionKind | None, wire(2)] = None
    accepted_types: Annotated[list[GroupVersionKind], wire(3)] = []
    verbs: Annotated[list[str], wire(4)] = []


class APIResourceDiscovery(Struct):
    """A kind, as an aggregated document tells of it.

    Attributes:
        resource: What it is called in paths, the plural.
        response_kind: What answers are.
        scope: Namespaced or Cluster.
        singular_resource: What one object is called, such as pod.
        verbs: What can be done with it.
        short_names: What else it is called.
        categories: Which names of several kinds it goes under.
        subresources: What can be done with parts of an object.
    """

    resource: Annotated[str, wire(1)] = ""
    response_kind: Annotated[GroupVersionKind | None, wire(2)] = None
    scope: Annotated[str, wire(3)] = ""
    singular_resource: Annotated[str, wire(4)] = ""
    verbs: Annotated[list[str], wire(5)] = []
    short_names: Annotated[list[str], wire(6)] = []
    categories: Annotated[list[str], wire(7)] = []
    subresources: Annotated[list[APISubresourceDiscovery], wire(8)] = []


class APIVersionDiscovery(Struct):
    """One version of a group with all that is in it.

    Attributes:
        version: Its name, such as v1.
        resources: The kinds in it, with their subresources.
        freshness: Current, or Stale where its server could not be asked lately.
    """

    version: Annotated[str, wire(1)] = ""
    resources: Annotated[list[APIResourceDiscovery], wire(2)] = []
    freshness: Annotated[str, wire(3)] = ""


class APIGroupDiscovery(Struct):
    """One group with all that is in it.

    Attributes:
        metadata: Where its name is, which the core group has none of.
        versions: What it is served in, the preferred one first.
    """

    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    versions: Annotated[list[APIVersionDiscovery], wire(2)] = []


class APIGroupDiscoveryList(Struct):
    """All groups with all that is in them.

    Attributes:
        metadata: The list's own.
        items: The groups, sorted as clients should prefer them.
    """

    metadata: Annotated[ListMeta, wire(1)] = field(default_factory=ListMeta)
    items: Annotated[list[APIGroupDiscovery], wire(2)] = []


class PartialObjectMetadata(Struct):
    """An object of any kind, of which only this is told.

    Attributes:
        metadata: What every object has, whole.
    """

    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)


class PartialObjectMetadataList(Struct):
    """A list of such.

    Attributes:
        metadata: The list's own.
        items: What is told of each object.
    """

    metadata: Annotated[ListMeta, wire(1)] = field(default_factory=ListMeta)
    items: Annotated[list[PartialObjectMetadata], wire(2)] = []


DOCUMENTS: dict[str, type[Struct]] = {
    each.__name__: each for each in (APIVersions, APIGroup, APIGroupList, APIResourceList, APIGroupDiscoveryList)
}
"""By kind."""


def of_json(document: bytes) -> tuple[Struct, str, str] | None:
    """Return what a document in JSON is, its version, which some do not say, and kind; None if it has no message."""
    value: dict[str, Any] = msgspec.json.decode(document)
    kind = str(value.get("kind", ""))
    type_ = DOCUMENTS.get(kind)
    if type_ is None:
        return None
    for resource in value.get("resources", ()):
        resource["verbs"] = {"items": resource.get("verbs", [])}
    return msgspec.convert(value, type_), str(value.get("apiVersion", "")), kind
