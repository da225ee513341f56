"""Model and dataset files written for the well-known code base, dropped in unchanged, run."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]

# In the style of that code base, old and new: gpu_ids passed on, BaseModel.__init__ called by
# name, store_true flags, torchvision transforms, an image pool, os.path.
MODEL = """
import itertools
import torch
from util.image_pool import ImagePool
import util.util as util
from .base_model import BaseModel
from . import networks


class TwoStepModel(BaseModel):
    @staticmethod
    def modify_commandline_options(parser, is_train=True):
        parser.set_defaults(norm='batch', netG='unet_128', dataset_mode='listed')
        if is_train:
            parser.set_defaults(gan_mode='lsgan')
            parser.add_argument('--lambda_pix', type=float, default=5.0, help='weight of L1')
            parser.add_argument('--double_step', action='store_true', help='two D steps')
        return parser

    def __init__(self, opt):
        BaseModel.__init__(self, opt)
        self.loss_names = ['G_GAN', 'G_pix', 'D']
        self.visual_names = ['real_A', 'fake_B', 'real_B']
        if self.isTrain:
            self.model_names = ['G', 'D']
        else:
            self.model_names = ['G']
        self.netG = networks.define_G(opt.input_nc, opt.output_nc, opt.ngf, opt.netG,
                                      opt.norm, not opt.no_dropout, opt.init_type,
                                      opt.init_gain, self.gpu_ids)
        if self.isTrain:
            self.netD = networks.define_D(opt.output_nc, opt.ndf, opt.netD, opt.n_layers_D,
                                          opt.norm, opt.init_type, opt.init_gain, self.gpu_ids)
            self.extra = networks.init_net(torch.nn.Conv2d(3, 3, 1), 'xavier', 1.0, self.gpu_ids)
            self.pool = ImagePool(opt.pool_size)
            self.criterionGAN = networks.GANLoss(opt.gan_mode).to(self.device)
            self.criterionPix = torch.nn.L1Loss()
            self.optimizer_G = torch.optim.Adam(
                itertools.chain(self.netG.parameters(), self.extra.parameters()), lr=opt.lr)
            self.optimizer_D = torch.optim.Adam(self.netD.parameters(), lr=opt.lr)
            self.optimizers.append(self.optimizer_G)
            self.optimizers.append(self.optimizer_D)

    def set_input(self, input):
        AtoB = self.opt.direction == 'AtoB'
        self.real_A = input['A' if AtoB else 'B'].to(self.device)
        self.real_B = input['B' if AtoB else 'A'].to(self.device)
        self.image_paths = input['A_paths' if AtoB else 'B_paths']

    def forward(self):
        self.fake_B = self.netG(self.real_A)

    def optimize_parameters(self):
        self.forward()
        self.set_requires_grad(self.netD, True)
        for _ in range(2 if self.opt.double_step else 1):
            self.optimizer_D.zero_grad()
            fake = self.pool.query(self.fake_B.detach())
            self.loss_D = 0.5 * (self.criterionGAN(self.netD(fake), False)
                                 + self.criterionGAN(self.netD(self.real_B), True))
            self.loss_D.backward()
            self.optimizer_D.step()
        self.set_requires_grad([self.netD], False)
        self.optimizer_G.zero_grad()
        self.loss_G_GAN = self.criterionGAN(self.netD(self.fake_B), True)
        self.loss_G_pix = self.criterionPix(self.extra(self.fake_B), self.real_B)
        self.loss_G_pix = self.loss_G_pix * self.opt.lambda_pix
        (self.loss_G_GAN + self.loss_G_pix).backward()
        self.optimizer_G.step()
"""

DATASET = """
import os
import random
from data.base_dataset import BaseDataset, get_params, get_transform
from data.image_folder import make_dataset
from PIL import Image
import torchvision.transforms as transforms


class ListedDataset(BaseDataset):
    @staticmethod
    def modify_commandline_options(parser, is_train):
        parser.add_argument('--jitter', action='store_true')
        return parser

    def __init__(self, opt):
        BaseDataset.__init__(self, opt)
        self.dir_AB = os.path.join(opt.dataroot, opt.phase)
        self.AB_paths = sorted(make_dataset(self.dir_AB, opt.max_dataset_size))
        self.to_gray = transforms.Grayscale(3)

    def __getitem__(self, index):
        path = self.AB_paths[index % len(self.AB_paths)]
        AB = Image.open(path).convert('RGB')
        w, h = AB.size
        A, B = AB.crop((0, 0, w // 2, h)), AB.crop((w // 2, 0, w, h))
        params = get_params(self.opt, A.size)
        A = get_transform(self.opt, params, grayscale=False)(self.to_gray(A))
        B = get_transform(self.opt, params)(B)
        if self.opt.jitter:
            B = B + random.uniform(-0.1, 0.1)
        return {'A': A, 'B': B, 'A_paths': path, 'B_paths': path}

    def __len__(self):
        return len(self.AB_paths)
"""

# Networks put together from their parts, a critic with its penalty, and the helpers for looking.
PARTS_MODEL = """
import functools
import torch
import torch.nn as nn
from util import util
from .base_model import BaseModel
from . import networks


class SmallGenerator(nn.Module):
    def __init__(self, input_nc, output_nc, ngf, norm):
        super(SmallGenerator, self).__init__()
        norm_layer = networks.get_norm_layer(norm_type=norm)
        if type(norm_layer) == functools.partial:
            use_bias = norm_layer.func == nn.InstanceNorm2d
        else:
            use_bias = norm_layer == nn.InstanceNorm2d
        unet = networks.UnetSkipConnectionBlock(ngf * 2, ngf * 2, innermost=True,
                                                norm_layer=norm_layer)
        unet = networks.UnetSkipConnectionBlock(ngf, ngf * 2, submodule=unet,
                                                norm_layer=norm_layer, use_dropout=True)
        unet = networks.UnetSkipConnectionBlock(ngf, ngf, input_nc=input_nc, submodule=unet,
                                                outermost=True, norm_layer=norm_layer)
        blocks = [networks.ResnetBlock(ngf, padding_type=kind, norm_layer=norm_layer,
                                       use_dropout=False, use_bias=use_bias)
                  for kind in ('reflect', 'replicate', 'zero')]
        self.model = nn.Sequential(unet, *blocks, networks.Identity(),
                                   nn.Conv2d(ngf, output_nc, 1), nn.Tanh())

    def forward(self, input):
        return self.model(input)


class PartsModel(BaseModel):
    @staticmethod
    def modify_commandline_options(parser, is_train=True):
        parser.set_defaults(dataset_mode='folder', norm='instance', gan_mode='wgangp')
        return parser

    def __init__(self, opt):
        BaseModel.__init__(self, opt)
        self.loss_names = ['G_adv', 'G_rec', 'D']
        self.visual_names = ['real', 'fake', 'plain']
        self.model_names = ['G', 'R', 'D', 'P'] if self.isTrain else ['G', 'R']
        self.netG = SmallGenerator(3, 3, opt.ngf, opt.norm).to(self.device)
        networks.init_weights(self.netG, 'xavier', init_gain=0.02)
        norm_layer = networks.get_norm_layer('batch')
        self.netR = networks.ResnetGenerator(3, 3, opt.ngf, norm_layer=norm_layer, n_blocks=1,
                                             padding_type='replicate')
        self.netR = networks.init_net(self.netR, opt.init_type, opt.init_gain, self.gpu_ids)
        self.unet = networks.UnetGenerator(3, 3, 5, ngf=opt.ngf, use_dropout=False)
        if self.isTrain:
            self.netD = networks.NLayerDiscriminator(3, opt.ndf, n_layers=2).to(self.device)
            self.netP = networks.PixelDiscriminator(3, opt.ndf).to(self.device)
            self.criterionGAN = networks.GANLoss(opt.gan_mode, target_real_label=0.9)
            self.optimizer_G = torch.optim.Adam(
                list(self.netG.parameters()) + list(self.netR.parameters()), lr=opt.lr)
            self.optimizer_D = torch.optim.Adam(self.netD.parameters(), lr=opt.lr)
            self.optimizers = [self.optimizer_G, self.optimizer_D]

    def set_input(self, input):
        self.real = input['A'].to(self.device)
        self.image_paths = input['A_paths']

    def forward(self):
        self.fake = self.netG(self.real)
        self.plain = self.netR(self.real)

    def optimize_parameters(self):
        self.forward()
        self.optimizer_D.zero_grad()
        self.loss_D = (self.criterionGAN(self.netD(self.fake.detach()), False)
                       + self.criterionGAN(self.netD(self.real), True))
        penalty, gradients = networks.cal_gradient_penalty(
            self.netD, self.real, self.fake.detach(), self.device, type='mixed', constant=1.0,
            lambda_gp=10.0)
        self.loss_D = self.loss_D + penalty
        self.loss_D.backward()
        self.optimizer_D.step()
        self.optimizer_G.zero_grad()
        self.loss_G_adv = self.criterionGAN(self.netD(self.fake), True)
        self.loss_G_rec = (self.plain - self.real).abs().mean()
        (self.loss_G_adv + self.loss_G_rec).backward()
        util.diagnose_network(self.netG, 'netG')
        util.print_numpy(util.tensor2im(self.fake), val=True, shp=True)
        self.optimizer_G.step()
"""

FOLDER_DATASET = """
import os
import torchvision.transforms as transforms
from data.base_dataset import BaseDataset, get_params, get_transform
from data.image_folder import ImageFolder, default_loader, is_image_file


class FolderDataset(BaseDataset):
    def __init__(self, opt):
        BaseDataset.__init__(self, opt)
        folder = os.path.join(opt.dataroot, opt.phase)
        self.images = ImageFolder(folder, return_paths=True, loader=default_loader)
        assert len(self.images) == len([n for n in os.listdir(folder) if is_image_file(n)])

    def __getitem__(self, index):
        image, path = self.images[index]
        params = get_params(self.opt, image.size)
        crop = get_transform(self.opt, params, False,
                             method=transforms.InterpolationMode.BILINEAR, convert=False)
        tensor = transforms.ToTensor()(crop(image)) * 2 - 1
        return {'A': tensor, 'A_paths': path}

    def __len__(self):
        return len(self.images)
"""

FAULTY_DATASET = """
from data.aligned_dataset import AlignedDataset

class FaultyDataset(AlignedDataset):
    def __getitem__(self, index):
        sample = super().__getitem__(index)
        return sample if index < 1 else {"A": sample["mask"]}
"""


# In the style of 2019: a list of GPUs decides, values without a flag are set as defaults, and the
# dataset gives numpy arrays.
OF_2019_MODEL = """
import torch
from .base_model import BaseModel
from . import networks


class Of2019Model(BaseModel):
    def name(self):
        return 'Of2019Model'

    @staticmethod
    def modify_commandline_options(parser, is_train=True):
        parser.set_defaults(dataset_mode='arrays', norm='batch', netG='resnet_6blocks')
        parser.set_defaults(rounds=2, stages=[1, 2])
        return parser

    def __init__(self, opt):
        BaseModel.__init__(self, opt)
        self.loss_names = ['G']
        self.visual_names = ['real', 'fake']
        self.model_names = ['G']
        self.netG = networks.define_G(opt.input_nc, opt.output_nc, opt.ngf, opt.netG, opt.norm,
                                      not opt.no_dropout, opt.init_type, opt.init_gain,
                                      self.gpu_ids)
        self.Tensor = torch.cuda.FloatTensor if self.gpu_ids else torch.FloatTensor
        if self.isTrain:
            self.optimizer_G = torch.optim.Adam(self.netG.parameters(), lr=opt.lr)
            self.optimizers.append(self.optimizer_G)

    def set_input(self, input):
        self.real = input['A'].type(self.Tensor)
        if len(self.gpu_ids) > 0:
            self.real = self.real.cuda(self.gpu_ids[0], non_blocking=True)
        self.image_paths = input['A_paths']

    def forward(self):
        self.fake = self.netG(self.real)

    def optimize_parameters(self):
        for _ in range(self.opt.rounds * len(self.opt.stages)):
            self.forward()
            self.optimizer_G.zero_grad()
            self.loss_G = torch.mean((self.fake - self.real) ** 2)
            self.loss_G.backward()
            self.optimizer_G.step()
"""

ARRAYS_DATASET = """
import os
import numpy as np
from PIL import Image
from data.base_dataset import BaseDataset


class ArraysDataset(BaseDataset):
    def __init__(self, opt):
        BaseDataset.__init__(self, opt)
        folder = os.path.join(opt.dataroot, opt.phase)
        self.paths = sorted(os.path.join(folder, name) for name in os.listdir(folder))
        self.size = (opt.crop_size, opt.crop_size)

    def __getitem__(self, index):
        picture = Image.open(self.paths[index]).convert('RGB').resize(self.size)
        array = np.array(picture, dtype=np.float64).transpose(2, 0, 1) / 127.5 - 1
        return {'A': array, 'A_paths': self.paths[index]}

    def __len__(self):
        return len(self.paths)
"""

# In the style of 2025: the device comes with the options. Its pictures are made for the screen, the
# first of a batch as an array (H, W, 3) in 0..255, and another one is grey.
OF_2025_MODEL = """
import numpy as np
import torch
from .base_model import BaseModel
from . import networks


class Of2025Model(BaseModel):
    @staticmethod
    def modify_commandline_options(parser, is_train=True):
        parser.set_defaults(dataset_mode='aligned', netG='resnet_6blocks')
        return parser

    def __init__(self, opt):
        BaseModel.__init__(self, opt)
        self.loss_names = ['G']
        self.visual_names = ['real_A', 'shown', 'edges']
        self.model_names = ['G']
        self.device = opt.device
        self.netG = networks.define_G(opt.input_nc, opt.output_nc, opt.ngf, opt.netG, opt.norm,
                                      not opt.no_dropout, opt.init_type, opt.init_gain)
        if self.isTrain:
            self.weight = torch.ones(1, device=self.device)
            self.optimizer_G = torch.optim.Adam(self.netG.parameters(), lr=opt.lr)
            self.optimizers.append(self.optimizer_G)

    def set_input(self, input):
        self.real_A = input['A'].to(self.opt.device)
        self.real_B = input['B'].to(self.device)
        self.image_paths = input['A_paths']

    def forward(self):
        assert self.opt.device.type in ('cpu', 'cuda', 'mps')
        self.fake_B = self.netG(self.real_A)

    def optimize_parameters(self):
        self.forward()
        self.optimizer_G.zero_grad()
        self.loss_G = self.weight * (self.fake_B - self.real_B).abs().mean()
        self.loss_G.backward()
        self.optimizer_G.step()

    def compute_visuals(self):
        picture = self.fake_B[0].detach().cpu().numpy().transpose(1, 2, 0)
        self.shown = np.zeros_like(picture, dtype=np.float64)
        self.shown[:, 1:] = 200.0
        self.edges = np.full(picture.shape[:2], 77, dtype=np.uint8)
"""

# A subclass of Pix2PixModel with other visuals, without those its parent compares and measures.
BLEND_MODEL = """
from .pix2pix_model import Pix2PixModel


class BlendModel(Pix2PixModel):
    def __init__(self, opt):
        Pix2PixModel.__init__(self, opt)
        self.visual_names = ['real_A', 'blend']

    def forward(self):
        Pix2PixModel.forward(self)
        self.blend = 0.5 * (self.real_A + self.fake_B)
"""

# Made for colour spaces of its own, it says so nowhere; its pictures are arrays.
TINT_MODEL = """
import numpy as np
from skimage import color
from .pix2pix_model import Pix2PixModel


class TintModel(Pix2PixModel):
    @staticmethod
    def modify_commandline_options(parser, is_train=True):
        Pix2PixModel.modify_commandline_options(parser, is_train)
        parser.set_defaults(dataset_mode='colorization', netG='resnet_6blocks')
        return parser

    def __init__(self, opt):
        Pix2PixModel.__init__(self, opt)
        self.visual_names = ['real_A', 'tinted']

    def compute_visuals(self):
        lightness = (self.real_A[0] + 1) * 50
        lab = np.concatenate([lightness.cpu(), self.fake_B[0].detach().cpu() * 110])
        self.tinted = color.lab2rgb(lab.transpose(1, 2, 0).astype(np.float64)) * 255
"""

# It hands out pictures itself: arrays, one that it has not declared, and one without a batch.
OWN_VISUALS_MODEL = """
from .pix2pix_model import Pix2PixModel
from util.util import tensor2im


class OwnVisualsModel(Pix2PixModel):
    def get_current_visuals(self):
        fake = self.fake_B.detach()
        return {'fake_B': tensor2im(fake), 'diff': fake - self.real_B, 'first': fake[0],
                'channel': fake[0, 0]}
"""

NO_PICTURE_MODEL = """
from .pix2pix_model import Pix2PixModel


class NoPictureModel(Pix2PixModel):
    def __init__(self, opt):
        Pix2PixModel.__init__(self, opt)
        self.visual_names = ['real_A', 'nothing', 'several']
        self.nothing = None

    def forward(self):
        Pix2PixModel.forward(self)
        self.several = [self.fake_B]
"""

DROPPED_IN = {
    "models/two_step_model.py": MODEL,
    "data/listed_dataset.py": DATASET,
    "models/parts_model.py": PARTS_MODEL,
    "data/folder_dataset.py": FOLDER_DATASET,
    "data/faulty_dataset.py": FAULTY_DATASET,
    "models/of_2019_model.py": OF_2019_MODEL,
    "data/arrays_dataset.py": ARRAYS_DATASET,
    "models/of_2025_model.py": OF_2025_MODEL,
    "models/blend_model.py": BLEND_MODEL,
    "models/tint_model.py": TINT_MODEL,
    "models/own_visuals_model.py": OWN_VISUALS_MODEL,
    "models/no_picture_model.py": NO_PICTURE_MODEL,
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the program with the files above dropped in, and a folder of pictures."""
    root = tmp_path_factory.mktemp("third_party")
    for folder in ("data", "models", "options", "util"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for script in ("train.py", "test.py"):
        shutil.copy(ROOT / script, root / script)
    for file, text in DROPPED_IN.items():
        (root / file).write_text(text)
    for phase, count in (("train", 3), ("test", 2)):
        (root / "pictures" / phase).mkdir(parents=True)
        for i in range(count):
            noise = np.random.default_rng(i).integers(0, 255, (8, 16, 3), dtype=np.uint8)
            picture = Image.fromarray(noise).resize((288, 144), Image.Resampling.BICUBIC)
            picture.save(root / "pictures" / phase / f"{i}.png")
    return root


def run(checkout, *command):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *command], cwd=checkout, env=environment, capture_output=True, text=True
    )


SIZE = ("--dataroot", "pictures", "--ngf", "4", "--load_size", "128", "--crop_size", "128")


def test_an_unchanged_model_and_dataset_train_resume_and_test(checkout):
    train = ("train.py", *SIZE, "--name", "theirs", "--model", "two_step", "--ndf", "4")
    train += ("--n_epochs", "1", "--n_epochs_decay", "0", "--print_freq", "1", "--double_step")
    trained = run(checkout, *train, "--jitter", "--pool_size", "2", "--num_threads", "2")
    assert trained.returncode == 0, trained.stderr
    assert "G_GAN: " in trained.stdout and "G_pix: " in trained.stdout

    more = run(checkout, "train.py", "--name", "theirs", "--continue_train", "--n_epochs", "2")
    assert more.returncode == 0, more.stderr
    assert "resumed from checkpoint latest" in more.stdout
    assert (checkout / "checkpoints/theirs/2_net_G.pth").is_file()

    tested = run(checkout, "test.py", *SIZE, "--name", "theirs", "--model", "two_step")
    assert tested.returncode == 0, tested.stderr
    names = {file.name for file in (checkout / "results/theirs/test_latest/images").iterdir()}
    assert names == {f"{i}_{label}.png" for i in (0, 1) for label in ("real_A", "fake_B", "real_B")}


# Runs programs in one process until one fails: importing takes longer than running them.
ONE_BY_ONE = """
import runpy, sys

for line in sys.stdin.read().splitlines():
    sys.argv = line.split()
    try:
        runpy.run_path(sys.argv[0], run_name='__main__')
    except SystemExit as end:
        if end.code:
            raise
"""


def run_all(checkout, *lines):
    """Run all of these command lines, which must succeed."""
    done = subprocess.run(
        [sys.executable, "-c", ONE_BY_ONE],
        input="\n".join(lines),
        cwd=checkout,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done


SMALL = "--dataroot pictures --ngf 2 --load_size 36 --crop_size 32 --num_threads 0 --device cpu"


def train_resume_and_test(checkout, model, training=""):
    """Train one epoch, resume for a second, test; returns the results and all output."""
    line = f"{SMALL} --name {model} --model {model}"
    done = run_all(
        checkout,
        f"train.py {line} --ndf 2 --n_epochs 1 --n_epochs_decay 0 {training}",
        f"train.py --name {model} --continue_train --n_epochs 2",
        f"test.py {line}",
    )
    assert "resumed from checkpoint latest" in done.stdout
    assert (checkout / "checkpoints" / model / "2_net_G.pth").is_file()
    assert "switched off" not in done.stdout
    images = checkout / "results" / model / "test_latest" / "images"
    results = {file.stem: np.asarray(Image.open(file)) for file in images.iterdir()}
    return results, done.stdout


def test_a_model_of_2019_with_a_dataset_of_arrays(checkout):
    results, told = train_resume_and_test(checkout, "of_2019")
    assert results.keys() == {f"{i}_{label}" for i in (0, 1) for label in ("real", "fake")}
    options = (checkout / "checkpoints" / "of_2019" / "train_opt.txt").read_text()
    assert "rounds: 2\n" in options and "stages: [1, 2]\n" in options
    assert "rounds 2 ->" not in told and "stages [1, 2] ->" not in told


def test_a_model_of_2025_with_pictures_as_arrays(checkout):
    seen = "--use_tensorboard --display_freq 1 --update_html_freq 1"
    results, _ = train_resume_and_test(checkout, "of_2025", training=seen)
    labels = ("real_A", "shown", "edges")
    assert results.keys() == {f"{i}_{label}" for i in (0, 1) for label in labels}
    shown = np.full((32, 32, 3), 200)
    shown[:, 0] = 0
    for i in (0, 1):
        assert np.array_equal(results[f"{i}_shown"], shown)
        assert (results[f"{i}_edges"] == 77).all()
    pages = checkout / "checkpoints" / "of_2025" / "web" / "images"
    assert np.array_equal(np.asarray(Image.open(pages / "epoch002_shown.png")), shown)
    saved = (checkout / "checkpoints" / "of_2025" / "train_options.json").read_text()
    assert '"device": "auto"' in saved  # of the second start, as a text


def test_a_subclass_that_shows_other_pictures(checkout):
    results, told = train_resume_and_test(checkout, "blend", training="--netG resnet_6blocks")
    assert results.keys() == {f"{i}_{label}" for i in (0, 1) for label in ("real_A", "blend")}
    assert "mean L1" not in told


def test_a_model_that_sets_a_dataset_of_another_colour_space(checkout):
    results, _ = train_resume_and_test(checkout, "tint")
    assert results.keys() == {f"{i}_{label}" for i in (0, 1) for label in ("real_A", "tinted")}
    tinted = results["0_tinted"].astype(float)
    assert tinted.std() > 5  # a picture, and not one grey


def test_a_model_that_hands_out_pictures_itself(checkout):
    seen = "--netG resnet_6blocks --update_html_freq 1 --use_tensorboard"
    results, _ = train_resume_and_test(checkout, "own_visuals", training=seen)
    labels = ("fake_B", "diff", "first", "channel")
    assert results.keys() == {f"{i}_{label}" for i in (0, 1) for label in labels}
    for i in (0, 1):
        assert np.array_equal(results[f"{i}_fake_B"], results[f"{i}_first"])
        grey = results[f"{i}_channel"]
        assert np.array_equal(grey[..., 1], results[f"{i}_fake_B"][..., 0])


def test_what_is_no_picture_is_told_and_training_continues(checkout):
    line = f"{SMALL} --name no_picture --model no_picture --netG resnet_6blocks"
    flags = f"{line} --ndf 2 --n_epochs 1 --n_epochs_decay 0 --update_html_freq 1"
    told = run_all(checkout, f"train.py {flags}").stdout
    assert told.count("warning: nothing is not shown: a NoneType is not a picture") == 1
    assert "warning: several is not shown: a list is not a picture" in told
    assert "switched off" not in told and "finished after epoch 1" in told
    done = run(checkout, "test.py", *line.split())
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "nothing cannot be shown: a NoneType is not a picture" in done.stderr


BUILT_ON = """
from .pix2pix_model import Pix2PixModel


class BuiltOnModel(Pix2PixModel):
    @staticmethod
    def modify_commandline_options(parser, is_train=True):
        parser.set_defaults(norm='batch', netG='unet_256', dataset_mode='aligned')
        if is_train:
            parser.set_defaults(pool_size=0, gan_mode='vanilla')
            parser.add_argument('--lambda_L1', type=float, default=100.0, help='weight of L1')
        return parser

    def set_input(self, input):
        AtoB = self.opt.direction == 'AtoB'
        self.real_A = input['A' if AtoB else 'B'].to(self.device)
        self.real_B = input['B' if AtoB else 'A'].to(self.device)
        self.image_paths = input['A_paths' if AtoB else 'B_paths']
"""


def test_a_model_built_on_pix2pix_needs_none_of_its_newer_flags(checkout):
    (checkout / "models" / "built_on_model.py").write_text(BUILT_ON)
    train_resume_and_test(checkout, "built_on", "--netG resnet_6blocks")


OWN_STEP = """
import torch
from .pix2pix_model import Pix2PixModel
from .cut_model import CUTModel
from .cycle_gan_model import CycleGANModel
from .pix2pix_with_perceptual_model import Pix2PixWithPerceptualModel


class OwnStepModel(Pix2PixModel):
    def backward_G(self):
        self.loss_G_GAN = self.loss_G = self.criterionL1(self.fake_B, self.real_B)
        self.loss_G_L1 = self.loss_G
        self.loss_G.backward()


class OwnInput(Pix2PixModel):
    def set_input(self, input):
        super().set_input(input)


class OwnD(Pix2PixModel):
    def backward_D(self):
        super().backward_D()


class StatedD(OwnD):
    uses = ('--d_augment',)


class OwnAgain(StatedD):
    def backward_D(self):
        super().backward_D()


class OwnCycle(CycleGANModel):
    def optimize_parameters(self):
        super().optimize_parameters()


class OwnCUT(CUTModel):
    def backward_D(self):
        super().backward_D()


class Unchanged(Pix2PixWithPerceptualModel):
    pass
"""
OF_D = {"--d_augment", "--num_D", "--r1"}
ALL = {"trainW", *OF_D, "--lambda_feat", "--lambda_lpips"}


def test_what_a_model_built_on_ours_heeds(checkout):
    """Methods of its own may not do what those they replace do, unless its class says so."""
    (checkout / "models" / "own_step_model.py").write_text(OWN_STEP)
    code = """if True:
        import models.own_step_model as file
        for kind in vars(file).values():
            if hasattr(kind, "used"):
                print(kind.__name__, *(name for name, heeds in kind.used().items() if heeds))
    """
    told = run(checkout, "-c", code).stdout
    heeded = {name: set(names) for name, *names in map(str.split, told.splitlines())}
    assert heeded == {
        "Pix2PixModel": ALL,
        "Pix2PixWithPerceptualModel": ALL,
        "Unchanged": ALL,
        "CycleGANModel": OF_D,
        "CUTModel": OF_D,
        "OwnCUT": set(),
        "OwnStepModel": {"--r1"},
        "OwnInput": ALL - {"trainW"},
        "OwnD": ALL - OF_D,
        "StatedD": ALL - {"--num_D", "--r1"},
        "OwnAgain": ALL - OF_D,
        "OwnCycle": set(),
    }


def test_a_flag_that_a_model_built_on_ours_does_not_heed_is_refused(checkout):
    (checkout / "models" / "own_step_model.py").write_text(OWN_STEP)
    line = f"train.py {SMALL} --name own_step --model own_step --ndf 2 --netG resnet_6blocks"
    line += " --n_epochs 1 --n_epochs_decay 0 --overwrite"
    assert "finished after epoch 1" in run_all(checkout, line).stdout  # without such flags
    for flag in ("--d_augment cutout", "--lambda_feat 10", "--num_D 2"):
        done = run(checkout, *line.split(), *flag.split())
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert f"{flag}" in done.stderr and "OwnStepModel" in done.stderr


def test_a_discriminator_of_their_own_has_no_features_to_match(checkout):
    text = """
        import torch
        from .pix2pix_model import Pix2PixModel

        class OwnNetModel(Pix2PixModel):
            def __init__(self, opt):
                super().__init__(opt)
                if self.isTrain:
                    self.netD = torch.nn.Conv2d(6, 1, 1)
                    self.optimizer_D = self.adam(self.netD)
                    self.optimizers = [self.optimizer_G, self.optimizer_D]
    """
    (checkout / "models" / "own_net_model.py").write_text(textwrap.dedent(text))
    line = f"train.py {SMALL} --name own_net --model own_net --ndf 2 --netG resnet_6blocks"
    line += " --n_epochs 1 --n_epochs_decay 0 --overwrite"
    assert "finished after epoch 1" in run_all(checkout, line).stdout
    done = run(checkout, *line.split(), "--lambda_feat", "10")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--lambda_feat 10: netD of OwnNetModel, a Conv2d," in done.stderr
    done = run(checkout, *line.split(), *"--num_D 2 --netD n_layers --n_layers_D 2".split())
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--num_D 2: OwnNetModel has its own discriminators" in done.stderr
    run_all(checkout, f"{line} --r1 1 --lr_D 0.001")  # which ask for no network of ours


def test_a_generator_of_their_own_is_not_residual(checkout):
    line = f"train.py {SMALL} --name refused --model two_step --dataset_mode aligned --ndf 2"
    line += " --netG resnet_6blocks"
    refused = run(checkout, *line.split(), "--residual")
    assert refused.returncode == 2
    assert "--residual: TwoStepModel builds its networks without it" in refused.stderr


def test_an_option_of_their_own_program_is_told(checkout):
    text = OF_2025_MODEL.replace("Of2025", "Wanting").replace("'G']", "'G', opt.extra_loss]")
    (checkout / "models" / "wanting_model.py").write_text(text)
    done = run(checkout, "train.py", *SMALL.split(), "--name", "wanting", "--model", "wanting")
    assert done.returncode == 2
    assert done.stderr.startswith("train.py: error: ") and done.stderr.count("\n") == 1
    assert "wanting_model.py reads opt.extra_loss, which is not a flag of train.py" in done.stderr


# As people write them beside train.py: the program's parts, put together by hand.
TRAINING_SCRIPT = """
from data import create_dataset
from models import create_model
from options.train_options import TrainOptions

if __name__ == '__main__':
    opt = TrainOptions().parse()
    opt.num_threads = 0
    dataset = create_dataset(opt)
    model = create_model(opt)
    model.setup(opt)
    for i, data in enumerate(dataset):
        model.set_input(data)
        model.optimize_parameters()
        print(i, model.get_current_losses())
    model.save_networks('latest')
    model.save_networks(1)
"""

TESTING_SCRIPT = """
from data import create_dataset
from models import create_model
from options.test_options import TestOptions

if __name__ == '__main__':
    opt = TestOptions().parse()
    opt.num_threads = 0
    model = create_model(opt)
    model.setup(opt)
    for data in create_dataset(opt):
        model.set_input(data)
        model.test()
        print(model.get_image_paths(), model.get_current_visuals()['real_A'].shape)
"""


def test_scripts_of_their_own(checkout):
    (checkout / "my_train.py").write_text(TRAINING_SCRIPT)
    (checkout / "my_test.py").write_text(TESTING_SCRIPT)
    line = f"{SMALL} --name scripted --model of_2025"
    told = run_all(checkout, f"my_train.py {line} --ndf 2", f"my_test.py {line}").stdout
    assert "2 OrderedDict" in told and "'G'" in told
    assert told.count("torch.Size([1, 3, 32, 32])") == 2
    folder = checkout / "checkpoints" / "scripted"
    assert {file.name for file in folder.glob("*.pth")} == {"latest_net_G.pth", "1_net_G.pth"}
    told = run_all(checkout, f"my_train.py {line} --ndf 2 --continue_train").stdout
    assert told.count("network G: loaded ") == 1  # and not with new ones over the old


def test_networks_from_parts_and_a_folder_of_pictures(checkout):
    line = ("--dataroot", "pictures", "--ngf", "4", "--load_size", "36", "--crop_size", "32")
    line += ("--name", "parts", "--model", "parts", "--num_threads", "0")
    train = ("--ndf", "4", "--n_epochs", "1", "--n_epochs_decay", "0", "--lr_policy", "plateau")
    trained = run(checkout, "train.py", *line, *train)
    assert trained.returncode == 0, trained.stderr
    assert trained.stdout.count("netG: mean absolute gradient 0.") == 3
    assert trained.stdout.count("shape (32, 32, 3)\nmean ") == 3

    tested = run(checkout, "test.py", *line)
    assert tested.returncode == 0, tested.stderr
    names = {file.name for file in (checkout / "results/parts/test_latest/images").iterdir()}
    assert names == {f"{i}_{label}.png" for i in (0, 1) for label in ("real", "fake", "plain")}


@pytest.mark.parametrize(
    "flags", ["--num_threads 0", "--num_threads 2", "--num_threads 2 --verbose"]
)
def test_an_error_in_their_dataset_is_told_and_costs_no_step(flags, checkout):
    line = "--dataroot pictures --name faulty --model pix2pix --dataset_mode faulty --ngf 4 --ndf 4"
    line += " --netG resnet_6blocks --load_size 32 --crop_size 32 --serial_batches --overwrite"
    done = run(checkout, "train.py", *line.split(), *flags.split())
    *before, last = done.stderr.splitlines()
    assert (done.returncode, last) == (
        2,
        "train.py: error: FaultyDataset, sample 1: KeyError: 'mask'",
    )
    assert ('{"A": sample["mask"]}' in "\n".join(before)) == ("--verbose" in flags) == bool(before)
    assert "saved latest (1 image)" in done.stdout
    assert (checkout / "checkpoints/faulty/latest_net_G.pth").is_file()


def test_their_flags_and_defaults_are_in_help(checkout):
    text = run(checkout, "train.py", "--help", "--model", "two_step").stdout
    words = " ".join(text.split())
    assert "--lambda_pix" in words and "--double_step" in words and "--jitter" in words
    assert "dataset_mode=listed" in words and "netG=unet_128" in words
    assert "two_step" in run(checkout, "train.py", "--help").stdout


def learnt(checkout, name):
    """The weights, moments and memories of a run, as text."""
    run = checkout / "checkpoints" / name
    state = torch.load(run / "latest_state.pth", weights_only=True)
    del state["options"], state["best"]
    torch.set_printoptions(threshold=sys.maxsize)
    weights = {f.name: f.read_bytes() for f in sorted(run.glob("latest_net_*.pth"))}
    return weights, str(state)


JUDGED = "--val_split 0.4 --val_freq 1 --val_pictures 1 --update_html_freq 1"


@pytest.mark.parametrize("model", ["two_step", "blend"])
def test_a_model_that_does_not_say_what_it_does_is_validated_through_its_own_test(model, checkout):
    line = f"train.py {SMALL} --name {model}_NAME --model {model} --dataset_mode aligned --ndf 2"
    line += " --netG resnet_6blocks --norm batch --n_epochs 1 --n_epochs_decay 1 --seed 4"
    line += f" --overwrite {JUDGED}"
    told = run_all(
        checkout, line.replace("NAME", "a"), line.replace("NAME", "b") + " --val_freq 0 --no_html"
    ).stdout
    assert "its pictures come from its own set_input and test" in told
    assert learnt(checkout, f"{model}_a") == learnt(checkout, f"{model}_b")
    validated = checkout / "checkpoints" / f"{model}_a" / "validation.jsonl"
    if model == "two_step":  # it shows real_A, fake_B and real_B
        assert "SSIM" in validated.read_text()
    else:
        assert not validated.exists()
    images = checkout / "checkpoints" / f"{model}_a" / "web" / "images"
    label = {"two_step": "fake_B", "blend": "blend"}[model]
    assert (images / f"epoch002_{label}.png").is_file()


def both_ways(checkout, name, more=""):
    """Train with and without looking at pictures apart; returns what was printed."""
    with_it, without = (f"{LINE.format(name, one)} {more}" for one in "ab")
    return run_all(checkout, f"{with_it} {JUDGED}", f"{without} --val_split 0.4 {OFF}").stdout


LINE = (
    f"train.py {SMALL} --name {{0}}_{{1}} --model {{0}} --dataset_mode aligned --ndf 2 --overwrite "
    "--netG resnet_6blocks --norm batch --n_epochs 1 --n_epochs_decay 1 --seed 4"
)
OFF = "--val_freq 0 --val_pictures 0 --no_html"


def test_a_model_that_changes_when_it_is_tested_is_not_validated(checkout):
    text = MODEL.replace("class TwoStep", "class Drifting")
    text += """
    def test(self):
        BaseModel.test(self)
        next(self.netG.parameters()).data.add_(0.01)
"""
    (checkout / "models" / "drifting_model.py").write_text(text)
    refused = run(checkout, *LINE.format("drifting", "p").split(), *JUDGED.split(), "--patience=1")
    assert refused.returncode == 2
    error = "--patience needs validation, but DriftingModel changes its weights when it is tested"
    assert error in refused.stderr
    told = both_ways(checkout, "drifting")
    assert "DriftingModel changes its weights when it is tested" in told
    assert "no validation: Drifting" in told
    assert learnt(checkout, "drifting_a") == learnt(checkout, "drifting_b")
    images = checkout / "checkpoints" / "drifting_a" / "web" / "images"
    assert (images / "epoch002_fake_B.png").is_file()  # of the training batch


def test_in_one_of_two_processes_too(checkout):
    """It fails on the second validation picture, which the other process looks at."""
    text = MODEL.replace("class TwoStep", "class Picky").replace(
        "    def test(self", "    def no(self"
    )
    text += """
    def test(self):
        if '1' in os.path.basename(self.image_paths[0]):
            raise ValueError('not this one')
        BaseModel.test(self)
"""
    (checkout / "models" / "picky_model.py").write_text("import os\n" + text)
    shutil.copytree(checkout / "pictures/test", checkout / "pictures/val", dirs_exist_ok=True)
    line = (
        f"train.py {SMALL} --name picky --model picky --dataset_mode aligned --ndf 2 --val_freq 1"
    )
    line += " --netG resnet_6blocks --n_epochs 1 --n_epochs_decay 0 --val_pictures 0"
    try:
        done = run(checkout, *TORCHRUN, *line.split())
    finally:
        shutil.rmtree(checkout / "pictures/val")
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stdout.split())
    assert "no validation: PickyModel cannot be tested while it trains: ValueError: not" in told
    assert "finished after epoch 1" in told


TORCHRUN = "-m torch.distributed.run --standalone --nproc_per_node=2".split()


NOTES = """
    def set_input(self, input):
        self.noted = getattr(self, 'noted', [])
        self.mean = getattr(self, 'mean', torch.zeros(()))
        self.noted.append(1)
        self.moved = getattr(self, 'moved', [self.netG(input['A'])])
        self.moved[0] = self.moved[0] + 0.1 * input['A'].mean()
        self.moved = self.moved[-1:]
        self.netG.calls = getattr(self.netG, 'calls', 0) + 1
        self.extra.kept = getattr(self.extra, 'kept', []) + [1]
        self.extra.register_buffer('seen', getattr(self.extra, 'seen', torch.zeros(())) + 1)
        self.mean.mul_(0.9).add_(input['A'].mean())
        {base}.set_input(self, input)
        self.real_A = self.real_A + 0.1 * self.mean + 0.01 * len(self.noted)
        self.real_A = self.real_A + 0.01 * (self.netG.calls + len(self.extra.kept))
        self.real_A = self.real_A + 0.01 * self.extra.seen + 0.1 * self.moved[0].detach().mean()

    def compute_visuals(self):
        torch.rand(5)
        self.pool.query(self.fake_B.detach())
        self.netG(self.real_A)
"""


def test_what_a_model_notes_of_other_pictures_stays_apart(checkout):
    """In lists, tensors and pools; what it computes for display changes nothing either."""
    text = MODEL.replace("class TwoStep", "class Noting").replace(
        "    def set_input(self, input):", "    def take(self, input):"
    )
    text += NOTES.replace("{base}.set_input", "self.take").replace("self.take(self, ", "self.take(")
    (checkout / "models" / "noting_model.py").write_text(text)
    both_ways(checkout, "noting", "--pool_size 2")
    assert learnt(checkout, "noting_a") == learnt(checkout, "noting_b")
    assert (checkout / "checkpoints" / "noting_a" / "validation.jsonl").is_file()


PATHLESS = """
from pathlib import Path
from data.aligned_dataset import AlignedDataset


class PathlessDataset(AlignedDataset):
    def lists(self):
        return [[(Path(a), Path(b), number) for number, (a, b) in enumerate(self.pairs)]]

    def __getitem__(self, index):
        sample = AlignedDataset.__getitem__(self, index)
        return {'A': sample['A'], 'B': sample['B'], 'A_paths': sample['A_paths']}
"""


@pytest.mark.parametrize("model", ["pix2pix", "two_step"])
def test_a_dataset_that_does_not_name_every_file(model, checkout):
    (checkout / "data" / "pathless_dataset.py").write_text(PATHLESS)
    line = f"train.py {SMALL} --name pathless --model {model} --dataset_mode pathless --ndf 2"
    line += f" --netG resnet_6blocks --n_epochs 1 --n_epochs_decay 0 --overwrite {JUDGED}"
    assert "finished after epoch 1" in run_all(checkout, line).stdout
    assert (checkout / "checkpoints" / "pathless" / "validation.jsonl").is_file()
