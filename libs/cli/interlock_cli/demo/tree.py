"""One trace as a tree: which service did what below which, and how long it took."""

from collections import defaultdict
from collections.abc import Sequence

from rich.markup import escape
from rich.tree import Tree

from interlock_cli.demo.otlp import SeenSpan


def problems(spans: Sequence[SeenSpan], expected: Sequence[str]) -> list[str]:
    """What keeps ``spans`` from being one whole trace over the ``expected`` services."""
    known = {span.span_id for span in spans}
    missing = sorted(set(expected) - {span.service for span in spans})
    found = [f"no span of {name}" for name in missing]
    orphans = [span for span in spans if span.parent_id and span.parent_id not in known]
    found += [f"the parent of {span.service}'s {span.name} is unknown" for span in orphans]
    roots = [span for span in spans if not span.parent_id]
    if len(roots) > 1:
        found.append(f"{len(roots)} roots: {', '.join(span.name for span in roots)}")
    return found


def tree_of(spans: Sequence[SeenSpan]) -> Tree:
    """The spans as a tree; what has no known parent stands at the top."""
    known = {span.span_id for span in spans}
    children: defaultdict[str, list[SeenSpan]] = defaultdict(list)
    for span in spans:
        children[span.parent_id if span.parent_id in known else ""].append(span)
    top = Tree("trace", hide_root=True)
    _grow(top, children, "")
    return top


def _grow(branch: Tree, children: dict[str, list[SeenSpan]], parent: str) -> None:
    for span in children.get(parent, ()):
        label = f"[bold cyan]{escape(span.service):<8}[/] {escape(span.name)}  [dim]{span.ms:.1f} ms[/]"
        _grow(branch.add(label), children, span.span_id)
