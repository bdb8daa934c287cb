"""`medshare completion`: the script that teaches a shell our commands and options."""

import click
from click.shell_completion import ShellComplete, get_completion_class

from medshare.commands.options import examples

SHELLS = ("bash", "zsh", "fish")


@click.command(
    epilog=examples(
        """
        medshare completion bash > ~/.bash_completion
        medshare completion zsh > "${fpath[1]}/_medshare"
        medshare completion fish > ~/.config/fish/completions/medshare.fish
        """
    )
)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script for a shell."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"no completion for {shell}", ctx)
    script = kind(ctx.find_root().command, {}, "medshare", "_MEDSHARE_COMPLETE")
    # Not `script.source()`: for bash it starts a bash first, only to ask for its version.
    click.echo(ShellComplete.source(script))
