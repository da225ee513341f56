@python "%~dp0preset.py" retouch_perceptual_lsgan %*
