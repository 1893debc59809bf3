complete --keep-order --exclusive --command lerianctl --arguments "(LERIANCTL_COMPLETE=fish lerianctl -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token))"
