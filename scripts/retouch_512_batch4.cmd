@python "%~dp0preset.py" retouch_512_batch4 %*
