@python "%~dp0preset.py" train_pix2pix_maps %*
