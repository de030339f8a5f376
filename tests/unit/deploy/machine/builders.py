from __future__ import annotations

from deploy.machine.plan import Machine, Member

M1, M2, M3 = (Member(name=f"m{n}", address=f"10.0.0.{n}") for n in (1, 2, 3))


def control_plane(name: str = "m1", members: tuple[Member, ...] = (M1, M2, M3), founder: str = "m1") -> Machine:
    address = next(member.address for member in members if member.name == name)
    return Machine(name=name, address=address, role="control-plane", members=list(members), founder=founder)


def worker(name: str = "w1") -> Machine:
    return Machine(name=name, address="10.0.0.9", role="worker", members=[M1, M2, M3], founder="m1")
