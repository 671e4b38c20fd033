import type { Shell } from "./shells.js";

/** Writes a shell's script. @param request what is called with the words until the cursor */
type Script = (program: string, request: string) => string;

/** The script of each shell. None knows anything of commands: they ask the program, as it was typed, at each Tab. */
export const scripts: Readonly<Record<Shell, Script>> = { bash, zsh, fish };

// bash breaks words at = and :, which devices have in their names. It replaces the last of the pieces only.
function bash(program: string, request: string): string {
  return `# bash completion of ${program}
_${program}() {
  local -a words=() lines=()
  local piece joined= line path directive=
  for piece in "\${COMP_WORDS[@]:1:COMP_CWORD}"; do
    if [[ -n $joined && \${#words[@]} -gt 0 || $piece == [:=]* && \${#words[@]} -gt 0 ]]; then
      words[\${#words[@]}-1]+=$piece
    else
      words+=("$piece")
    fi
    joined=
    [[ $piece == *[:=] && $piece != -* ]] && joined=1
  done
  local current=\${words[\${#words[@]}-1]}
  local prefix=\${current%"\${current##*[:=]}"}
  COMPREPLY=()
  while IFS= read -r line; do
    case $line in
      :files* | :folders*) directive=$line ;;
      *) line=\${line%%$'\\t'*}; COMPREPLY+=("\${line#"$prefix"}") ;;
    esac
  done < <("$1" ${request} "\${words[@]}" 2>/dev/null)
  compopt -o nosort 2>/dev/null
  if [[ -n $directive ]]; then
    local kind=-f
    [[ $directive == :folders* ]] && kind=-d
    while IFS= read -r path; do COMPREPLY+=("$path"); done < <(compgen $kind -- "\${current#"\${directive#*$'\\t'}"}")
    compopt -o filenames 2>/dev/null
  elif [[ \${#COMPREPLY[@]} -eq 1 && \${COMPREPLY[0]} == *= ]]; then
    compopt -o nospace 2>/dev/null
  fi
}
complete -F _${program} ${program}
`;
}

function zsh(program: string, request: string): string {
  return `#compdef ${program}
_${program}() {
  local -a values texts
  local line directive
  while IFS= read -r line; do
    case $line in
      :files*|:folders*) directive=$line ;;
      *)
        values+=("\${line%%$'\\t'*}")
        texts+=("\${line%%$'\\t'*}  \${\${line#*$'\\t'}[1,\${COLUMNS:-80}/2]}")
        ;;
    esac
  done < <("\${words[1]}" ${request} "\${(@)words[2,CURRENT]}" 2>/dev/null)
  (( \${#values} )) && compadd -l -V ${program} -d texts -a values
  if [[ -n $directive ]]; then
    [[ \${directive#*$'\\t'} == *= ]] && compset -P 1 '*='
    if [[ $directive == :folders* ]]; then _files -/; else _files; fi
  fi
}
# Loaded from fpath, the file is the function; otherwise it says what it is.
if [[ $funcstack[1] == _${program} ]]; then _${program} "$@"; else compdef _${program} ${program}; fi
`;
}

function fish(program: string, request: string): string {
  return `# fish completion of ${program}
function __${program}_complete
    set -l typed (commandline -opc)
    set -l current (commandline -ct)
    for line in ($typed[1] ${request} $typed[2..] "$current" 2>/dev/null)
        set -l parts (string split -m 1 \\t -- $line)
        switch $parts[1]
            case :files
                set -l rest (string sub -s (math (string length -- "$parts[2]") + 1) -- "$current")
                __fish_complete_path "$rest" | string replace -r '^' -- "$parts[2]"
            case :folders
                set -l rest (string sub -s (math (string length -- "$parts[2]") + 1) -- "$current")
                __fish_complete_directories "$rest" | string replace -r '^' -- "$parts[2]"
            case '*'
                echo $line
        end
    end
end
complete -c ${program} -f -k -a '(__${program}_complete)'
`;
}
