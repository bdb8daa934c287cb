"""The live view: a bar, a speed and a reason for every pause, for people at a terminal."""

import sys
from types import TracebackType
from typing import Self

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from medshare.commands import text
from medshare.commands.figures import Figures
from medshare.commands.lines import Output, Record, View, plain_lines
from medshare.sharing.events import Event, Finished, Notice, Planned


def console(*, stderr: bool = False) -> Console:
    """Return a console that takes text as it is: no markup, no emoji names, no guessing."""
    return Console(stderr=stderr, highlight=False, emoji=False, markup=False)


class TransferView:
    """Draws the figures of one transfer in at most four lines."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw what is known now; called eight times a second."""
        figures = self._figures
        if figures.planned is None:
            if figures.status:
                yield Text(figures.status, style="yellow", overflow="ellipsis", no_wrap=True)
            return
        dot = " - " if options.ascii_only else " · "
        yield Text(figures.heading(), style="bold", overflow="ellipsis", no_wrap=True)
        yield self._bar()
        detail = dot.join([figures.chunks(), *figures.savings()])
        yield Text(f"  {detail}", style="dim", overflow="ellipsis", no_wrap=True)
        if figures.status:
            yield Padding(Text(figures.status, style="yellow", overflow="fold"), (0, 0, 0, 2))

    def _bar(self) -> RenderableType:
        figures = self._figures
        row = Table.grid(padding=(0, 2, 0, 0), expand=True)
        row.add_column(ratio=1)
        for _ in range(3):
            row.add_column(no_wrap=True, justify="right")
        bar = ProgressBar(
            total=1.0, completed=figures.done, complete_style="cyan", finished_style="green"
        )
        pace = figures.pace()
        row.add_row(
            bar,
            Text(text.share(figures.done, 1).rjust(4), style="bold"),
            Text(figures.amounts()),
            Text("  ".join(pace), style="cyan"),
        )
        return row


class LiveOutput(Output):
    """Draws on stderr while things move, and leaves only remarks and results behind."""

    def __init__(self, *, verbose: int = 0) -> None:
        self._console = console(stderr=True)
        self._figures = Figures()
        self._verbose = verbose
        self._live = Live(
            TransferView(self._figures),
            console=self._console,
            refresh_per_second=8,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Clear the view; say how far it went when it was interrupted."""
        self._live.stop()
        if error is not None and self._figures.stopped():
            self._console.print(Text(self._figures.stopped(), style="yellow"))

    def event(self, event: Event) -> None:
        """Take *event* into the picture; keep what must not scroll away."""
        self._figures.take(event)
        match event:
            case Notice(message=message):
                shown = text.visible(message, limit=1000)
                self._console.print(Text(f"note: {shown}", style="yellow"))
            case Planned() if self._verbose:
                self._console.print(Text(f"parcel {event.parcel.hex()}", style="dim"))
            case Finished():
                self._figures.status = ""
            case _:
                pass

    def say(self, remark: str) -> None:
        """Show a remark above the view."""
        self._console.print(Text(remark))

    def result(self, record: Record, view: View) -> None:  # noqa: ARG002  # for programs
        """Print what *view* returns: with colours to a terminal, as plain lines to a file."""
        self._live.stop()
        out = console()
        if out.is_terminal:
            out.print(view())
        else:
            for line in plain_lines(view()):
                sys.stdout.write(line + "\n")
