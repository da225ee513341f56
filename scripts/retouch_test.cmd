@python "%~dp0preset.py" retouch_test %*
