@python "%~dp0preset.py" retouch_few %*
