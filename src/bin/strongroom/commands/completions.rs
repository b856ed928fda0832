use clap::CommandFactory;
use clap_complete::Shell;

use crate::arguments::Arguments;
use crate::context::Context;
use crate::exit::{Ending, Failure};

/// Print a completion script for a shell
///
/// In bash, zsh and fish it offers sources, snapshots, tags and entities too: for that it runs strongroom.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  \
    strongroom completions bash \\\n    > ~/.local/share/bash-completion/completions/strongroom")]
pub struct Args {
    shell: Shell,
}

/// Readline takes a colon for the end of a word: what stands before it in the word is not offered again.
const BASH: &str = r#"
_strongroom_with_names() {
    _strongroom "$@"
    local line="${COMP_LINE:0:COMP_POINT}" current before one
    current="${line##* }"
    local -a typed
    read -ra typed <<< "$line"
    [[ "$line" == *' ' ]] && typed+=("")
    before="${current%"${COMP_WORDS[COMP_CWORD]}"}"
    while IFS= read -r one; do
        COMPREPLY+=("${one#"$before"}")
    done < <(strongroom complete -- "${typed[@]:1}" 2>/dev/null)
}
complete -F _strongroom_with_names -o nosort -o bashdefault -o default strongroom
"#;

const ZSH: &str = r#"
_strongroom_with_names() {
    _strongroom "$@"
    local -a found
    found=(${(f)"$(strongroom complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)"})
    (( $#found )) && compadd -a found
}
compdef _strongroom_with_names strongroom
"#;

const FISH: &str = "
complete -c strongroom -a '(strongroom complete -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'
";

pub fn run(args: Args, context: &Context) -> Result<Ending, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Arguments::command(), "strongroom", &mut script);
    let names = match args.shell {
        Shell::Bash => BASH,
        Shell::Zsh => ZSH,
        Shell::Fish => FISH,
        _ => "",
    };
    script.extend_from_slice(names.as_bytes());
    super::man::deliver(context, "script", &script);
    Ok(Ending::Done)
}
