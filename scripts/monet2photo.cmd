@python "%~dp0preset.py" monet2photo %*
