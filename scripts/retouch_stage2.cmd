@python "%~dp0preset.py" retouch_stage2 %*
