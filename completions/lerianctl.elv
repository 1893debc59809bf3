
set edit:completion:arg-completer[lerianctl] = { |@words|
    var index = (count $words)
    set index = (- $index 1)

    put (env _CLAP_IFS="\n" _CLAP_COMPLETE_INDEX=(to-string $index) LERIANCTL_COMPLETE="elvish" lerianctl -- $@words) | to-lines
}

