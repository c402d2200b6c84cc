#!/usr/bin/env bash
# Runs an experiment as a chain of Slurm jobs: stages of one process, and arrays for those that several processes share.
#
#   submit.sh EXPERIMENT SHARDS [SBATCH OPTION..]
#
# ALAMBIC names the program (alambic on the PATH by default), ALAMBIC_OPTIONS further options of `alambic run`, such as --out.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2; }
experiment=$(realpath "$1") shards=$2
shift 2
here=$(dirname "$(realpath "$0")")
program=${ALAMBIC:-alambic}
# A stage that the experiment lacks has no jobs.
stages=$("$program" check "$experiment" --no-estimate --json |
    python3 -c 'import json, sys; print(*json.load(sys.stdin)["stages"])')

before=
submit() { # STAGE [SBATCH OPTION..]
    local stage=$1
    shift
    local after=${before:+--dependency=afterok:$before}
    before=$(ALAMBIC=$program STAGE=$stage EXPERIMENT=$experiment sbatch --parsable --export=ALL --requeue \
        --job-name="alambic-$stage" $after "$@" "$here/stage.sbatch")
    before=${before%%;*}
    echo "$stage: job $before"
}
for stage in $stages; do
    case $stage in
    recover | experts | relabel | validate) submit "$stage" --array="1-$shards" "$@" ;;
    esac
    submit "$stage" "$@"
done
