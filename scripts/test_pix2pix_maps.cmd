@python "%~dp0preset.py" test_pix2pix_maps %*
