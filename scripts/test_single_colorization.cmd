@python "%~dp0preset.py" test_single_colorization %*
