"""Making cached values unreachable: by key, by tag, by model, and by pattern for operators.

What depends on the database is invalidated after its transaction has committed: earlier, another
process could load the old state again.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import transaction
from django.db.models import Model, QuerySet
from django.db.models.signals import post_delete, post_save

from cachelayer.layer import Layer, cache_layer
from cachelayer.remote import EVERYWHERE, Unavailable, require_all
from cachelayer.steps import adrive, drive

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from cachelayer.steps import Steps

M = TypeVar("M", bound=Model)

SCAN_COUNT = 500
MOST_KEYS = 100_000


def invalidate(
    *, keys: Collection[str] = (), tags: Collection[str] = (), layer: Layer | None = None
) -> bool:
    """Put values out of reach now; False when other processes could not be told.

    They find out within the layer's `local_ttl` then, and level 2 before it is used again here.
    """
    target = layer or cache_layer()
    return drive(_invalidate(target, keys, tags), target.remote)


async def ainvalidate(
    *,
    keys: Collection[str] = (),
    tags: Collection[str] = (),
    in_level_2: bool = True,
    layer: Layer | None = None,
) -> bool:
    """`invalidate` for coroutines; without `in_level_2` for keys that are kept in memory only."""
    target = layer or cache_layer()
    steps = _invalidate(target, keys, tags, in_level_2=in_level_2)
    return await adrive(steps, target.remote)


def invalidate_on_commit(*, keys: Collection[str] = (), tags: Collection[str] = ()) -> None:
    """The same once the current transaction has committed; at once when there is none."""
    transaction.on_commit(lambda: invalidate(keys=keys, tags=tags))


def invalidate_soon_on_commit(*, tags: Collection[str]) -> None:
    """Like `invalidate_on_commit`, but the other processes are told by a thread of its own.

    This process knows at once, the others within milliseconds; the caller does not wait for it.
    """
    transaction.on_commit(lambda: cache_layer().messages.invalidate_soon(tags))


def _invalidate(
    layer: Layer, keys: Collection[str], tags: Collection[str], *, in_level_2: bool = True
) -> Steps[bool]:
    layer.stats.of(EVERYWHERE).local.invalidations += len(keys) + len(tags)
    layer.local.delete(keys)
    overdue, commands = layer.tags.unsent()
    commands += layer.tags.bump(tags)
    if in_level_2:
        commands += layer.remote.delete_commands(keys)
    try:
        require_all((yield [*commands, layer.messages.command(keys=keys, tags={*tags, *overdue})]))
        layer.tags.sent(overdue)
    except BaseException as error:  # a coroutine that is cancelled here has changed the database
        layer.tags.failed_to_send(tags)
        if in_level_2:
            layer.remote.owe_deletion(keys)
        layer.messages.resend_soon()
        if isinstance(error, Unavailable):
            return False
        raise
    finally:
        # Whoever read level 2 between the first time and the UNLINK has the old entry again.
        layer.local.delete(keys)
    return True


_bulk_tags: defaultdict[type[Model], set[str]] = defaultdict(set)


class InvalidatingQuerySet(QuerySet[M]):
    """A queryset whose bulk writes invalidate what `depends_on` says of its model.

    `update`, `bulk_create` and `bulk_update` send no signals and do not say which rows they touch.
    """

    def update(self, **changes: Any) -> int:
        """As Django's; then invalidates."""
        changed = super().update(**changes)
        self._invalidate()
        return changed

    def bulk_create(self, objs: Iterable[M], *arguments: Any, **named: Any) -> list[M]:
        """As Django's; then invalidates."""
        created = super().bulk_create(objs, *arguments, **named)
        self._invalidate()
        return created

    def bulk_update(self, objs: Iterable[M], *arguments: Any, **named: Any) -> int:
        """As Django's; then invalidates."""
        changed = super().bulk_update(objs, *arguments, **named)
        self._invalidate()
        return changed

    def _invalidate(self) -> None:
        if tags := _bulk_tags.get(self.model):
            invalidate_on_commit(tags=tuple(tags))


def depends_on(
    model: type[Model], tags: Callable[[Any], Iterable[str]], *, bulk: Collection[str]
) -> None:
    """Invalidate `tags(instance)` whenever an instance of the model is saved or deleted.

    Bulk writes invalidate the tags of `bulk`, for which the model's manager has to be made from
    InvalidatingQuerySet. Raises TypeError when it is not.
    """
    if not isinstance(model._default_manager.all(), InvalidatingQuerySet):
        raise TypeError(f"{model.__name__}.objects must be InvalidatingQuerySet.as_manager()")
    _bulk_tags[model].update(bulk)

    def changed(instance: Model, **_: Any) -> None:
        invalidate_on_commit(tags=tuple(tags(instance)))

    identity = f"cachelayer.{model._meta.label}.{id(tags)}"
    for sent in (post_save, post_delete):
        sent.connect(changed, sender=model, weak=False, dispatch_uid=identity)


def delete_matching(pattern: str, *, layer: Layer | None = None) -> int:
    """Remove the entries of level 2 whose keys match a glob, for operators; returns how many.

    Looks at the whole server a piece at a time and stops after MOST_KEYS. Raises Unavailable.
    """
    target = layer or cache_layer()
    deleted = 0
    for keys in target.remote.scan(pattern, count=SCAN_COUNT):
        target.remote.call(*target.remote.delete_commands(keys))
        deleted += len(keys)
        if deleted >= MOST_KEYS:
            break
    target.local.clear()
    target.remote.call(target.messages.command(everything=True))
    return deleted
