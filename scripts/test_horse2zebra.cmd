@python "%~dp0preset.py" test_horse2zebra %*
