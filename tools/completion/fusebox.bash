# Completion of fusebox's commands, options and files for bash (and zsh after `autoload bashcompinit; bashcompinit`).
#   source tools/completion/fusebox.bash
# Commands and options come from the tool's own --help, so they are always those of the fusebox on PATH.

_fusebox() {
  local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} tool=${COMP_WORDS[0]} command=${COMP_WORDS[1]}
  local words
  case $previous in
    --policy) words="score certified" ;;
    --fusion) words="certified score none force" ;;
    --rounding) words="sdpa eager" ;;
    --dtype) words="bf16 f32" ;;
    --profile) words="default strict certified qwen3" ;;
  esac
  if [[ -n $words ]]; then
    COMPREPLY=($(compgen -W "$words" -f -- "$word"))
  elif [[ $COMP_CWORD == 1 ]]; then
    COMPREPLY=($(compgen -W "$("$tool" --help 2>/dev/null | sed -n 's/^  \([a-z][a-z-]*\) .*/\1/p')" -- "$word"))
  elif [[ $word == -* ]]; then
    COMPREPLY=($(compgen -W "$("$tool" "$command" --help 2>/dev/null | grep -oE -- '--[a-z][a-z0-9-]*' | sort -u)" -- "$word"))
  else
    COMPREPLY=($(compgen -f -- "$word"))
  fi
}
complete -o filenames -F _fusebox fusebox
