@python "%~dp0preset.py" retouch_1024 %*
