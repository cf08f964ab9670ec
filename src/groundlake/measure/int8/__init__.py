"""int8 for real: a network quantized with a calibration set, its kernels proven, its accuracy kept beside its times."""
