@python "%~dp0preset.py" retouch_many %*
