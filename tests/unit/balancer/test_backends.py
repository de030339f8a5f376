from __future__ import annotations

from balancer.backends import Backend, Health, choose


def test_the_healthiest_is_chosen():
    backends = [Backend("a:1", Health.DOWN), Backend("b:1", Health.READY), Backend("c:1", Health.UNREADY)]
    assert choose(backends) is backends[1]


def test_of_equals_the_one_with_the_fewest_connections_is_chosen_and_then_the_first():
    backends = [Backend("a:1", Health.READY, connections=2), Backend("b:1", Health.READY), Backend("c:1", Health.READY)]
    assert choose(backends) is backends[1]


def test_one_that_cannot_serve_is_better_than_none():
    backends = [Backend("a:1", Health.DOWN), Backend("b:1", Health.UNREADY)]
    assert choose(backends) is backends[1]


def test_one_that_seemed_down_is_tried_last_and_when_all_were_tried_there_is_none():
    backends = [Backend("a:1", Health.DOWN), Backend("b:1", Health.READY)]
    assert choose(backends, {"b:1"}) is backends[0]
    assert choose(backends, {"a:1", "b:1"}) is None


def test_an_address_is_taken_apart():
    assert (Backend("[::1]:6443").host, Backend("[::1]:6443").port) == ("::1", 6443)
