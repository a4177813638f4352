"""Which pods are wanted: the selector's words, and folders of logs as the kubelet names them."""

from __future__ import annotations

from pathlib import Path

import pytest

from shadowd.capture.pods import Pod, PodList, PodSelector, logged
from shadowd.errors import ShadowdError

UID = "9f3a6c1e-2d47-4f0b-8f55-1c0de5a1b2c3"
STATIC = "4f0b8f551c0de5a1b2c39f3a6c1e2d47"  # of a pod that is a file on the node: a hash
LABELS = {"app": "checkout", "app.kubernetes.io/part-of": "shop", "name": "other"}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("namespace=shop", True),
        ("namespace=*", True),
        ("namespace=sh?p,name=checkout-*", True),
        ("namespace=shop,app=checkout", True),
        ("app=checkout,app.kubernetes.io/part-of=shop,namespace=shop", True),
        ("namespace=shop,label:name=other", True),
        ("namespace=other", False),
        ("namespace=shop,name=checkout", False),  # not a part of it
        ("namespace=shop,app=check", False),
        ("namespace=shop,tier=", False),  # an empty value is one, a missing label is none
        ("namespace=shop,label:name=checkout", False),
    ],
)
def test_a_pod_is_wanted_by_all_that_is_said(text: str, matches: bool) -> None:
    selector = PodSelector.parse(text)
    assert selector.matches(Pod("shop", "checkout-7d9f-x2", UID, LABELS)) == matches
    again = PodSelector.parse(str(selector))
    assert (str(again), again.labels) == (str(selector), selector.labels)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "no key=value"),
        ("app=checkout", "names no namespace"),
        ("namespace=", "names no namespace"),
        ("shop", "no key=value"),
        ("namespace=shop,namespace=other", "given twice"),
        ("namespace=Shop", "is no namespace"),
        ("namespace=shop,name=[a]", "is no name"),
        ("namespace=shop,app=a b", "is no label"),
        ("namespace=shop,-app=a", "is no label"),
        ("namespace=shop,app=" + "a" * 64, "is no label"),
    ],
)
def test_what_is_no_selector_is_said(text: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        PodSelector.parse(text)


def test_folders_of_logs_name_pods(tmp_path: Path) -> None:
    for name in (
        f"shop_checkout-7d9f-x2_{UID}",
        f"kube-system_etcd-node.a_{STATIC}",
        "lost+found",
        "a_b",
        f"A_b_{UID}",
    ):
        (tmp_path / name).mkdir()
    found = {(pod.namespace, pod.name, pod.uid) for pod in logged(tmp_path)}
    assert found == {("shop", "checkout-7d9f-x2", UID), ("kube-system", "etcd-node.a", STATIC)}


def test_without_folders_or_with_labels_the_runtime_is_asked(tmp_path: Path) -> None:
    (tmp_path / f"shop_checkout-1_{UID}").mkdir()
    here, nowhere = PodList(tmp_path), PodList(tmp_path / "none")
    named, labelled = PodSelector.parse("namespace=shop"), PodSelector.parse("namespace=shop,app=checkout")
    assert [pod.uid for pod in here.matching(named)] == [UID]
    assert (here.asks_runtime(named), here.asks_runtime(labelled), nowhere.asks_runtime(named)) == (False, True, True)
    with pytest.raises(ShadowdError, match="is being asked"):
        here.matching(labelled)
    here.problem = "it does not answer"
    with pytest.raises(ShadowdError, match="it does not answer"):
        here.matching(labelled)
    here.running = [Pod("shop", "checkout-1", UID, LABELS), Pod("shop", "cart-1", STATIC, {})]
    assert [pod.uid for pod in here.matching(labelled)] == [UID], "what was known stays while it does not answer"
