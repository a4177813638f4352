"""tcp_data_queue, tcp_data_queue_ofo and tcp_ofo_queue of Linux 6.x, and lib/rbtree.c, written down line by line.

The oracle of the assembler where copies differ. It shares no code and no idea with it: sides are named, colours and
parents set where the C code sets them, and whole segments are the nodes. ``tests/netns/test_copies.py`` asks the kernel
itself.
"""

from __future__ import annotations

from typing import Any

RED, BLACK = 0, 1


class Skb:
    def __init__(self, seq: int, data: bytes, fin: bool) -> None:
        self.seq, self.end_seq, self.data, self.fin = seq, seq + len(data) + fin, data, fin
        self.left: Any = None
        self.right: Any = None
        self.parent: Any = None
        self.colour = RED


class Socket:
    """A receiver whose first byte has number 0. ``read`` is what the application got."""

    def __init__(self) -> None:
        self.rcv_nxt = 0
        self.read = b""
        self.root: Any = None
        self.ooo_last: Any = None
        self.done = False

    def receive(self, seq: int, data: bytes, fin: bool = False) -> None:
        skb = Skb(seq, data, fin)
        if self.done or skb.end_seq <= self.rcv_nxt:
            return
        if seq > self.rcv_nxt:
            self.data_queue_ofo(skb)
            return
        self.queue_rcv(skb)
        while self.root is not None and not self.done:  # tcp_ofo_queue
            skb = self.first()
            if skb.seq > self.rcv_nxt:
                break
            self.erase(skb)
            if skb.end_seq > self.rcv_nxt:
                self.queue_rcv(skb)

    def queue_rcv(self, skb: Skb) -> None:
        self.read += skb.data[self.rcv_nxt - skb.seq :]
        self.rcv_nxt = skb.end_seq
        self.done = skb.fin

    @staticmethod
    def try_coalesce(to: Skb, skb: Skb) -> bool:
        if skb.seq != to.end_seq:
            return False
        to.data += skb.data
        to.end_seq = skb.end_seq
        to.fin |= skb.fin
        return True

    def data_queue_ofo(self, skb: Skb) -> None:
        if self.root is None:
            self.link(skb, None, "left")
            self.ooo_last = skb
            return
        if self.try_coalesce(self.ooo_last, skb):
            return
        if skb.seq >= self.ooo_last.end_seq:
            self.link(skb, self.ooo_last, "right")
            self.merge_right(skb)
            return
        at, parent, side = self.root, None, "left"
        while at is not None:
            parent = at
            if skb.seq < at.seq:
                at, side = at.left, "left"
                continue
            if skb.seq < at.end_seq:
                if skb.end_seq <= at.end_seq:
                    return
                if skb.seq == at.seq:
                    self.replace(at, skb)
                    self.merge_right(skb)
                    return
            elif self.try_coalesce(at, skb):
                return
            at, side = at.right, "right"
        self.link(skb, parent, side)
        self.merge_right(skb)

    def merge_right(self, skb: Skb) -> None:
        while (after := self.next(skb)) is not None:
            if skb.end_seq <= after.seq or skb.end_seq < after.end_seq:
                return
            self.erase(after)
        self.ooo_last = skb

    # --- lib/rbtree.c -------------------------------------------------------------------------------------------------

    def nodes(self, at: Any) -> list[Skb]:
        return [] if at is None else [*self.nodes(at.left), at, *self.nodes(at.right)]

    def first(self) -> Skb:
        return self.nodes(self.root)[0]

    def next(self, skb: Skb) -> Skb | None:
        order = self.nodes(self.root)
        place = next(i for i, node in enumerate(order) if node is skb)
        return order[place + 1] if place + 1 < len(order) else None

    def change_child(self, old: Skb, new: Any, parent: Any) -> None:
        if parent is None:
            self.root = new
        elif parent.left is old:
            parent.left = new
        else:
            parent.right = new

    def rotate_set_parents(self, old: Skb, new: Skb, colour: int) -> None:
        parent = old.parent
        new.parent, new.colour = old.parent, old.colour
        old.parent, old.colour = new, colour
        self.change_child(old, new, parent)

    def replace(self, old: Skb, new: Skb) -> None:
        new.left, new.right, new.parent, new.colour = old.left, old.right, old.parent, old.colour
        for child in (old.left, old.right):
            if child is not None:
                child.parent = new
        self.change_child(old, new, old.parent)

    def link(self, node: Skb, parent: Any, side: str) -> None:
        node.parent = parent
        if parent is None:
            self.root = node
        else:
            setattr(parent, side, node)
        while True:
            if parent is None:
                node.parent, node.colour = None, BLACK
                return
            if parent.colour == BLACK:
                return
            gparent = parent.parent
            if parent is gparent.left:
                uncle = gparent.right
            else:
                uncle = gparent.left
            if uncle is not None and uncle.colour == RED:
                uncle.colour = parent.colour = BLACK
                node, parent = gparent, gparent.parent
                node.colour = RED
                continue
            if parent is gparent.left:
                if node is parent.right:
                    tmp = node.left
                    parent.right, node.left = tmp, parent
                    if tmp is not None:
                        tmp.parent, tmp.colour = parent, BLACK
                    parent.parent, parent.colour = node, RED
                    parent = node
                tmp = parent.right
                gparent.left, parent.right = tmp, gparent
            else:
                if node is parent.left:
                    tmp = node.right
                    parent.left, node.right = tmp, parent
                    if tmp is not None:
                        tmp.parent, tmp.colour = parent, BLACK
                    parent.parent, parent.colour = node, RED
                    parent = node
                tmp = parent.left
                gparent.right, parent.left = tmp, gparent
            if tmp is not None:
                tmp.parent, tmp.colour = gparent, BLACK
            self.rotate_set_parents(gparent, parent, RED)
            return

    def erase(self, node: Skb) -> None:
        child, tmp = node.right, node.left
        rebalance: Any = None
        if tmp is None or child is None:
            only = child if tmp is None else tmp
            self.change_child(node, only, node.parent)
            if only is not None:
                only.parent, only.colour = node.parent, node.colour
            elif node.colour == BLACK:
                rebalance = node.parent
        else:
            successor = child
            if child.left is None:
                parent, child2 = successor, successor.right
            else:
                while successor.left is not None:
                    parent, successor = successor, successor.left
                child2 = successor.right
                parent.left, successor.right, child.parent = child2, child, successor
            successor.left, tmp.parent = tmp, successor
            self.change_child(node, successor, node.parent)
            if child2 is not None:
                child2.parent, child2.colour = parent, BLACK
            elif successor.colour == BLACK:
                rebalance = parent
            successor.parent, successor.colour = node.parent, node.colour
        if rebalance is not None:
            self.erase_color(rebalance)

    def erase_color(self, parent: Skb) -> None:
        node: Any = None
        while True:
            if node is not parent.right:
                sibling = parent.right
                if sibling.colour == RED:
                    tmp1 = sibling.left
                    parent.right, sibling.left = tmp1, parent
                    tmp1.parent, tmp1.colour = parent, BLACK
                    self.rotate_set_parents(parent, sibling, RED)
                    sibling = tmp1
                tmp1, tmp2 = sibling.right, sibling.left
            else:
                sibling = parent.left
                if sibling.colour == RED:
                    tmp1 = sibling.right
                    parent.left, sibling.right = tmp1, parent
                    tmp1.parent, tmp1.colour = parent, BLACK
                    self.rotate_set_parents(parent, sibling, RED)
                    sibling = tmp1
                tmp1, tmp2 = sibling.left, sibling.right
            if tmp1 is None or tmp1.colour == BLACK:
                if tmp2 is None or tmp2.colour == BLACK:
                    sibling.colour = RED
                    if parent.colour == RED:
                        parent.colour = BLACK
                        return
                    node, parent = parent, parent.parent
                    if parent is None:
                        return
                    continue
                if sibling is parent.right:
                    tmp1 = tmp2.right
                    sibling.left, tmp2.right, parent.right = tmp1, sibling, tmp2
                else:
                    tmp1 = tmp2.left
                    sibling.right, tmp2.left, parent.left = tmp1, sibling, tmp2
                if tmp1 is not None:
                    tmp1.parent, tmp1.colour = sibling, BLACK
                tmp1, sibling = sibling, tmp2
            if sibling is parent.right:
                tmp2 = sibling.left
                parent.right, sibling.left = tmp2, parent
            else:
                tmp2 = sibling.right
                parent.left, sibling.right = tmp2, parent
            tmp1.parent, tmp1.colour = sibling, BLACK
            if tmp2 is not None:
                tmp2.parent = parent
            self.rotate_set_parents(parent, sibling, BLACK)
            return
