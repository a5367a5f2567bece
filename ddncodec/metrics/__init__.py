"""How near pictures are to others: PSNR, SSIM, features of faces, and the Fréchet distance."""
