import copy

import msgspec

from api.apps.daemonset import RESOURCE, TEMPLATE_GENERATION, DaemonSet, template_generation


def daemon_set(annotations: dict[str, str] | None = None, image: str = "i") -> DaemonSet:
    template = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": image}]}}
    metadata = {"name": "agent", "namespace": "default", "annotations": annotations or {}}
    spec = {"selector": {"matchLabels": {"app": "a"}}, "template": template}
    made = msgspec.convert({"metadata": metadata, "spec": spec}, DaemonSet)
    RESOURCE.default(made)
    return made


def created(annotations: dict[str, str] | None = None) -> DaemonSet:
    made = daemon_set(annotations)
    RESOURCE.prepare_for_create(made)
    return made


def test_templates_are_counted_from_one_or_from_what_a_backup_says() -> None:
    assert created().metadata.annotations == {TEMPLATE_GENERATION: "1"}
    assert template_generation(created({TEMPLATE_GENERATION: "7"})) == 7
    for text in ("0", "-3", "many", "٣"):
        assert template_generation(created({TEMPLATE_GENERATION: text})) == 1


def test_only_another_template_is_counted_and_nobody_can_set_the_number_or_take_it_away() -> None:
    old = created()
    same = daemon_set({"note": "x"})
    RESOURCE.prepare_for_update(same, old)
    assert same.metadata.annotations == {"note": "x", TEMPLATE_GENERATION: "1"}
    other = daemon_set({TEMPLATE_GENERATION: "40"}, image="j")
    RESOURCE.prepare_for_update(other, old)
    assert template_generation(other) == 2


def test_a_write_of_the_status_leaves_the_number_and_keeps_other_annotations() -> None:
    old = created()
    new = copy.deepcopy(old)
    new.metadata.annotations = {"patched": "true"}
    RESOURCE.prepare_for_status_update(new, old)
    assert new.metadata.annotations == {"patched": "true", TEMPLATE_GENERATION: "1"}
