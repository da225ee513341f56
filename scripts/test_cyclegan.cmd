@python "%~dp0preset.py" test_cyclegan %*
