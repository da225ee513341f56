"""Model files of other people's kind, dropped in unchanged, live a whole life.

Each is trained, interrupted, resumed bit for bit, validated, tested, applied at full size, and
exported or refused in one line.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from trainer import leaves

ROOT = Path(__file__).resolve().parents[2]

# In the layout of CUT: networks of its own, one of which gets its layers from the first batch.
PATCHWISE = """
import itertools
import numpy as np
import torch
from torch import nn
import torch.nn.functional as F
from .base_model import BaseModel
from . import networks


class LayerwiseGenerator(nn.Module):
    def __init__(self, input_nc, output_nc, ngf):
        super().__init__()
        self.model = nn.Sequential(
            nn.ReflectionPad2d(1), nn.Conv2d(input_nc, ngf, 3), nn.InstanceNorm2d(ngf),
            nn.ReLU(True), nn.Conv2d(ngf, 2 * ngf, 3, stride=2, padding=1),
            nn.InstanceNorm2d(2 * ngf), nn.ReLU(True), nn.Upsample(scale_factor=2),
            nn.Conv2d(2 * ngf, output_nc, 3, padding=1), nn.Tanh())

    def forward(self, input, layers=[], encode_only=False):
        if len(layers) == 0:
            return self.model(input)
        feat, feats = input, []
        for number, layer in enumerate(self.model):
            feat = layer(feat)
            if number in layers:
                feats.append(feat)
            if number == layers[-1] and encode_only:
                return feats
        return feat, feats


class PatchSampler(nn.Module):
    def __init__(self, width, gpu_ids=[]):
        super().__init__()
        self.width, self.gpu_ids, self.is_made = width, gpu_ids, False

    def make(self, feats):
        for number, feat in enumerate(feats):
            mlp = nn.Sequential(nn.Linear(feat.shape[1], self.width), nn.ReLU(),
                                nn.Linear(self.width, self.width))
            setattr(self, 'mlp_%d' % number, mlp.to(feat.device))
        networks.init_net(self, 'xavier', 0.02, self.gpu_ids)
        self.is_made = True

    def forward(self, feats, num_patches, patch_ids=None):
        if not self.is_made:
            self.make(feats)
        samples, ids = [], []
        for number, feat in enumerate(feats):
            flat = feat.permute(0, 2, 3, 1).flatten(1, 2)
            if patch_ids is None:
                order = np.random.permutation(flat.shape[1])[:num_patches]
                chosen = torch.tensor(order, dtype=torch.long, device=feat.device)
            else:
                chosen = patch_ids[number]
            sample = getattr(self, 'mlp_%d' % number)(flat[:, chosen].flatten(0, 1))
            samples.append(F.normalize(sample, dim=1))
            ids.append(chosen)
        return samples, ids


class PatchwiseModel(BaseModel):
    @staticmethod
    def modify_commandline_options(parser, is_train=True):
        parser.add_argument('--lambda_NCE', type=float, default=1.0, help='weight of NCE')
        parser.add_argument('--nce_layers', type=str, default='1,4', help='where to compare')
        parser.add_argument('--flip', action='store_true', help='flip-equivariance')
        parser.add_argument('--width', type=int, default=8)
        parser.set_defaults(pool_size=0, no_dropout=True, dataset_mode='unaligned')
        opt, _ = parser.parse_known_args()
        if opt.flip:
            parser.set_defaults(lambda_NCE=10.0)
        return parser

    def __init__(self, opt):
        BaseModel.__init__(self, opt)
        self.loss_names = ['G_GAN', 'D_real', 'D_fake', 'G']
        self.visual_names = ['real_A', 'fake_B', 'real_B']
        self.nce_layers = [int(i) for i in self.opt.nce_layers.split(',')]
        if opt.lambda_NCE > 0.0:
            self.loss_names += ['NCE']
        if self.isTrain:
            self.visual_names += ['idt_B']
            self.model_names = ['G', 'F', 'D']
        else:
            self.model_names = ['G']
        self.netG = LayerwiseGenerator(opt.input_nc, opt.output_nc, opt.ngf)
        self.netG = networks.init_net(self.netG, opt.init_type, opt.init_gain, self.gpu_ids)
        self.netF = PatchSampler(opt.width, self.gpu_ids)
        if self.isTrain:
            self.netD = networks.define_D(opt.output_nc, opt.ndf, opt.netD, opt.n_layers_D,
                                          opt.norm, opt.init_type, opt.init_gain, self.gpu_ids)
            self.criterionGAN = networks.GANLoss(opt.gan_mode).to(self.device)
            self.optimizer_G = torch.optim.Adam(self.netG.parameters(), lr=opt.lr,
                                                betas=(opt.beta1, 0.999))
            self.optimizer_D = torch.optim.Adam(self.netD.parameters(), lr=opt.lr,
                                                betas=(opt.beta1, 0.999))
            self.optimizers.append(self.optimizer_G)
            self.optimizers.append(self.optimizer_D)

    def data_dependent_initialize(self, data):
        self.set_input(data)
        self.forward()
        if self.opt.isTrain:
            self.compute_D_loss().backward()
            self.compute_G_loss().backward()
            if self.opt.lambda_NCE > 0.0:
                self.optimizer_F = torch.optim.Adam(self.netF.parameters(), lr=self.opt.lr)
                self.optimizers.append(self.optimizer_F)

    def set_input(self, input):
        AtoB = self.opt.direction == 'AtoB'
        self.real_A = input['A' if AtoB else 'B'].to(self.device)
        self.real_B = input['B' if AtoB else 'A'].to(self.device)
        self.image_paths = input['A_paths' if AtoB else 'B_paths']

    def forward(self):
        both = self.opt.isTrain
        self.real = torch.cat((self.real_A, self.real_B), dim=0) if both else self.real_A
        self.is_flipped = self.opt.isTrain and self.opt.flip and np.random.random() < 0.5
        if self.is_flipped:
            self.real = torch.flip(self.real, [3])
        self.fake = self.netG(self.real)
        self.fake_B = self.fake[:self.real_A.size(0)]
        if both:
            self.idt_B = self.fake[self.real_A.size(0):]

    def optimize_parameters(self):
        self.forward()
        self.set_requires_grad(self.netD, True)
        self.optimizer_D.zero_grad()
        self.loss_D = self.compute_D_loss()
        self.loss_D.backward()
        self.optimizer_D.step()
        self.set_requires_grad(self.netD, False)
        self.optimizer_G.zero_grad()
        if self.opt.lambda_NCE > 0.0:
            self.optimizer_F.zero_grad()
        self.loss_G = self.compute_G_loss()
        self.loss_G.backward()
        self.optimizer_G.step()
        if self.opt.lambda_NCE > 0.0:
            self.optimizer_F.step()

    def compute_D_loss(self):
        self.loss_D_fake = self.criterionGAN(self.netD(self.fake_B.detach()), False).mean()
        self.loss_D_real = self.criterionGAN(self.netD(self.real_B), True).mean()
        return (self.loss_D_fake + self.loss_D_real) * 0.5

    def compute_G_loss(self):
        self.loss_G_GAN = self.criterionGAN(self.netD(self.fake_B), True).mean()
        self.loss_NCE = self.loss_NCE_Y = 0.0
        if self.opt.lambda_NCE > 0.0:
            self.loss_NCE = self.nce(self.real_A, self.fake_B)
            self.loss_NCE_Y = self.nce(self.real_B, self.idt_B)
        return self.loss_G_GAN + 0.5 * (self.loss_NCE + self.loss_NCE_Y)

    def nce(self, src, tgt):
        feat_q = self.netG(tgt, self.nce_layers, encode_only=True)
        if self.is_flipped:
            feat_q = [torch.flip(fq, [3]) for fq in feat_q]
        feat_k = self.netG(src, self.nce_layers, encode_only=True)
        pool_k, ids = self.netF(feat_k, 16)
        pool_q, _ = self.netF(feat_q, 16, ids)
        total = 0.0
        for q, k in zip(pool_q, pool_k):
            logits = q @ k.detach().t() / 0.07
            total = total + F.cross_entropy(logits, torch.arange(len(q), device=q.device))
        return total * self.opt.lambda_NCE / len(self.nce_layers)
"""

# In the layout of pix2pixHD: label maps in, discriminators at several scales in a list, features
# matched over them, losses named as they come, its own decay of the rate.
SCALES = """
import torch
from torch import nn
from util.image_pool import ImagePool
from .base_model import BaseModel
from . import networks


class Block(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.conv = nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(dim, dim, 3),
                                  nn.InstanceNorm2d(dim), nn.ReLU(True))

    def forward(self, x):
        return x + self.conv(x)


class GlobalGenerator(nn.Module):
    def __init__(self, input_nc, output_nc, ngf):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(input_nc, ngf, 3, stride=2, padding=1),
                                   nn.InstanceNorm2d(ngf), nn.ReLU(True), Block(ngf))
        self.last = nn.Sequential(nn.ConvTranspose2d(ngf, ngf, 3, 2, 1, output_padding=1),
                                  nn.InstanceNorm2d(ngf), nn.ReLU(True),
                                  nn.Conv2d(ngf, output_nc, 3, padding=1), nn.Tanh())

    def forward(self, input):
        return self.last(self.first(input))


class ScaleDiscriminator(nn.Module):
    def __init__(self, input_nc, ndf):
        super().__init__()
        self.layer0 = nn.Sequential(nn.Conv2d(input_nc, ndf, 4, 2, 1), nn.LeakyReLU(0.2))
        self.layer1 = nn.Sequential(nn.Conv2d(ndf, ndf, 4, 2, 1), nn.InstanceNorm2d(ndf),
                                    nn.LeakyReLU(0.2))
        self.layer2 = nn.Conv2d(ndf, 1, 3, 1, 1)

    def forward(self, x):
        results = []
        for layer in (self.layer0, self.layer1, self.layer2):
            x = layer(x)
            results.append(x)
        return results


class ScalesModel(BaseModel):
    @staticmethod
    def modify_commandline_options(parser, is_train=True):
        parser.set_defaults(dataset_mode='aligned', norm='instance', gan_mode='lsgan')
        parser.add_argument('--label_nc', type=int, default=4, help='number of labels')
        if is_train:
            parser.add_argument('--num_scales', type=int, default=2)
            parser.add_argument('--lambda_match', type=float, default=10.0)
        return parser

    def __init__(self, opt):
        BaseModel.__init__(self, opt)
        self.visual_names = ['real_A', 'fake_B', 'real_B']
        self.model_names = ['G']
        self.netG = GlobalGenerator(opt.label_nc + 1, opt.output_nc, opt.ngf)
        self.netG = networks.init_net(self.netG, opt.init_type, opt.init_gain, self.gpu_ids)
        if self.isTrain:
            self.model_names.append('D')
            nets = [networks.init_net(ScaleDiscriminator(opt.label_nc + 1 + opt.output_nc, opt.ndf),
                                      opt.init_type, opt.init_gain, self.gpu_ids)
                    for _ in range(opt.num_scales)]
            self.netD = LIST
            self.downsample = nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)
            self.criterionGAN = networks.GANLoss(opt.gan_mode).to(self.device)
            self.fake_pool = ImagePool(opt.pool_size)
            self.old_lr = opt.lr
            self.optimizer_G = torch.optim.Adam(self.netG.parameters(), lr=opt.lr,
                                                betas=(opt.beta1, 0.999))
            params = [p for net in self.netD for p in net.parameters()]
            self.optimizer_D = torch.optim.Adam(params, lr=opt.lr, betas=(opt.beta1, 0.999))
            self.optimizers = [self.optimizer_G, self.optimizer_D]

    def encode_input(self, label):
        ids = ((label.mean(1, keepdim=True) + 1) / 2 * self.opt.label_nc).long()
        ids = ids.clamp(0, self.opt.label_nc - 1)
        one_hot = torch.zeros(label.size(0), self.opt.label_nc, *label.shape[2:],
                              device=self.device).scatter_(1, ids, 1.0)
        edges = torch.zeros_like(label[:, :1])
        edges[..., 1:] = (ids[..., 1:] != ids[..., :-1]).float()
        return torch.cat((one_hot, edges), 1)

    def set_input(self, input):
        AtoB = self.opt.direction == 'AtoB'
        self.real_A = input['A' if AtoB else 'B'].to(self.device)
        self.real_B = input['B' if AtoB else 'A'].to(self.device)
        self.image_paths = input['A_paths']
        self.input_label = self.encode_input(self.real_A)

    def forward(self):
        self.fake_B = self.netG(self.input_label)

    def inference(self, label):
        with torch.no_grad():
            return self.netG(self.encode_input(label))

    def test(self):
        self.fake_B = self.inference(self.real_A)

    def discriminate(self, image):
        x, results = torch.cat((self.input_label, image), 1), []
        for net in self.netD:
            results.append(net(x))
            x = self.downsample(x)
        return results

    def gan(self, results, is_real):
        return sum(self.criterionGAN(result[-1], is_real) for result in results)

    def optimize_parameters(self):
        self.forward()
        fake = self.fake_pool.query(self.fake_B.detach())
        real = self.discriminate(self.real_B)
        losses = {'D_fake': self.gan(self.discriminate(fake), False),
                  'D_real': self.gan(real, True)}
        seen = self.discriminate(self.fake_B)
        losses['G_GAN'] = self.gan(seen, True)
        match = 0
        for ours, theirs in zip(seen, real):
            for a, b in zip(ours[:-1], theirs[:-1]):
                match = match + nn.functional.l1_loss(a, b.detach())
        losses['G_match'] = match * self.opt.lambda_match / len(self.netD)
        self.loss_names = list(losses)
        for name, loss in losses.items():
            setattr(self, 'loss_' + name, loss)
        self.optimizer_G.zero_grad()
        (self.loss_G_GAN + self.loss_G_match).backward()
        self.optimizer_G.step()
        self.optimizer_D.zero_grad()
        ((self.loss_D_fake + self.loss_D_real) * 0.5).backward()
        self.optimizer_D.step()

    def update_learning_rate(self):
        lr = self.old_lr - self.opt.lr / 10
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group['lr'] = lr
        print('update learning rate: %f -> %f' % (self.old_lr, lr))
        self.old_lr = lr
"""

# An optimizer written by hand, a schedule stepped with each batch, and another left to itself.
OWN_STEPS = """
import torch
from .base_model import BaseModel
from . import networks


class Lookahead(torch.optim.Adam):
    def __init__(self, params, lr, pull):
        super().__init__(params, lr=lr)
        for group in self.param_groups:
            group.update(pull=pull, taken=0, since=[])

    @torch.no_grad()
    def step(self, closure=None):
        super().step(closure)
        for group in self.param_groups:
            group['taken'] += 1
            group['since'] = (group['since'] + [group['taken']])[-3:]
            for p in group['params']:
                state = self.state[p]
                if p.grad is None:
                    continue
                state['norms'] = state.get('norms', []) + [float(p.grad.norm())][-4:]
                state['slow'] = state.get('slow', p.detach().clone().flatten())
                if group['taken'] % 2 == 0:
                    state['slow'].lerp_(p.flatten(), group['pull'])
                    p.copy_(state['slow'].view_as(p) + 1e-6 * sum(state['norms'][-4:]))


class OwnStepsModel(BaseModel):
    @staticmethod
    def modify_commandline_options(parser, is_train=True):
        parser.set_defaults(dataset_mode='aligned', netG='resnet_6blocks', norm='batch',
                            no_dropout=True)
        return parser

    def __init__(self, opt):
        super().__init__(opt)
        self.loss_names = ['G', 'D']
        self.visual_names = ['real_A', 'fake_B', 'real_B']
        self.model_names = ['G', 'D'] if self.isTrain else ['G']
        self.netG = networks.define_G(opt.input_nc, opt.output_nc, opt.ngf, opt.netG, opt.norm,
                                      not opt.no_dropout, opt.init_type, opt.init_gain,
                                      self.gpu_ids)
        if self.isTrain:
            self.netD = networks.define_D(opt.output_nc, opt.ndf, opt.netD, opt.n_layers_D,
                                          opt.norm, opt.init_type, opt.init_gain, self.gpu_ids)
            self.criterionGAN = networks.GANLoss(opt.gan_mode).to(self.device)
            self.optimizer_G = Lookahead(self.netG.parameters(), lr=opt.lr, pull=0.5)
            self.optimizers.append(self.optimizer_G)
            self.warmup = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(self.optimizer_G, 3)
            self.optimizer_D = torch.optim.AdamW(self.netD.parameters(), lr=opt.lr)

    def setup(self, opt):
        BaseModel.setup(self, opt)
        if self.isTrain:
            self.schedulers.append(torch.optim.lr_scheduler.OneCycleLR(
                self.optimizer_D, max_lr=opt.lr, total_steps=6))

    def set_input(self, input):
        self.real_A = input['A'].to(self.device)
        self.real_B = input['B'].to(self.device)
        self.image_paths = input['A_paths']

    def forward(self):
        self.fake_B = self.netG(self.real_A)

    def optimize_parameters(self):
        self.forward()
        self.optimizer_D.zero_grad()
        self.loss_D = (self.criterionGAN(self.netD(self.fake_B.detach()), False)
                       + self.criterionGAN(self.netD(self.real_B), True))
        self.loss_D.backward()
        self.optimizer_D.step()
        self.optimizer_G.zero_grad()
        self.loss_G = (self.criterionGAN(self.netD(self.fake_B), True)
                       + (self.fake_B - self.real_B).abs().mean())
        self.loss_G.backward()
        self.optimizer_G.step()
        self.warmup.step()
"""

FILES = {
    "patchwise": PATCHWISE,
    "scales": SCALES.replace("LIST", "nn.ModuleList(nets)"),
    "scales_list": SCALES.replace("LIST", "nets").replace("ScalesM", "ScalesListM"),
    "own_steps": OWN_STEPS,
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the program with the files above dropped in, and pictures."""
    root = tmp_path_factory.mktemp("kinds")
    for folder in ("data", "models", "options", "util", "scripts"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for script in ("train.py", "test.py"):
        shutil.copy(ROOT / script, root / script)
    for name, text in FILES.items():
        (root / "models" / f"{name}_model.py").write_text(text)
    random = np.random.default_rng(0)
    for phase, count in (("train", 5), ("val", 2)):
        for number in range(count):
            for side in "AB":
                noise = random.integers(0, 255, (6, 6, 3), dtype=np.uint8)
                picture = Image.fromarray(noise).resize((40, 40), Image.Resampling.BICUBIC)
                file = root / "pictures" / f"{phase}{side}" / f"{number}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                picture.save(file)
    (root / "photos").mkdir()
    noise = random.integers(0, 255, (9, 7, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((70, 90), Image.Resampling.BICUBIC).save(
        root / "photos/large.png"
    )
    return root


# Runs programs one after the other, since importing takes longer than running them. A line may
# begin with the text at whose output the program gets a SIGINT, as by Ctrl+C.
PROGRAMS = """
import json, runpy, signal, sys

class Tripwire:
    def __init__(self, pattern):
        self.out, self.pattern = sys.__stdout__, pattern

    def write(self, text):
        self.out.write(text)
        if self.pattern and self.pattern in text:
            signal.raise_signal(signal.SIGINT)

    def __getattr__(self, name):
        return getattr(self.out, name)

for line in sys.stdin.read().splitlines():
    pattern, _, words = line.rpartition('>> ')
    sys.argv, sys.stdout = words.split(), Tripwire(pattern)
    sys.path[0] = ''
    try:
        runpy.run_path(sys.argv[0], run_name='__main__')
    except SystemExit as end:
        if (end.code or 0) != (130 if pattern else 0):
            raise
"""


def run_all(checkout, *lines, fails=False):
    """Run these programs, of which the last may fail; returns what was printed."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAMS],
        input="\n".join(lines),
        cwd=checkout,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode != 0) == fails, done.stderr
    return done.stderr if fails else done.stdout


TINY = (
    "--dataroot pictures --device cpu --seed 3 --ngf 4 --ndf 4 --load_size 32 --crop_size 32 "
    "--num_threads 0 --print_freq 1 --save_latest_freq 2 --update_html_freq 1 --val_freq 1 "
    "--n_epochs 2 --n_epochs_decay 1"
)


def outcome(run):
    """What must not depend on interruptions: weights, state, metrics."""
    state = torch.load(run / "latest_state.pth", weights_only=True)
    del state["options"]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {
        **{file.name: file.read_bytes() for file in run.glob("*_net_*.pth")},
        **dict(leaves(state)),
        "metrics": [
            {k: v for k, v in line.items() if k not in ("time_s", "data_s")} for line in lines
        ],
        "validation": (run / "validation.jsonl").read_text(),
        **{file.name: file.read_bytes() for file in (run / "web" / "images").iterdir()},
    }


KINDS = {
    "patchwise": "",
    "patchwise --flip": "--grad_accum 2 --ema 0.9",
    "patchwise --lambda_NCE 0": "--precision bf16",
    "scales": "--ema 0.9 --precision bf16",
    "scales_list": "--grad_accum 2 --pool_size 2",
    "own_steps": "",
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_life(kind, checkout):
    """What the page shows of the validation pictures is what test.py makes of them."""
    model, *own = kind.split()
    name = "_".join([model, *own]).replace("--", "")
    flags = f"--model {model} {' '.join(own)} {KINDS[kind]} {TINY}"
    again = f"train.py --name {name}_cut --continue_train"
    applied = f"--name {name} --model {model} --dataroot pictures --phase val --device cpu"
    applied += " --precision bf16" * ("bf16" in flags)
    told = run_all(
        checkout,
        f"train.py --name {name} {flags}",
        f"epoch: 1, iters: 3>> train.py --name {name}_cut {flags}",
        f"epoch: 2, iters: 4>> {again}",
        again,
        f"test.py {applied} --load_size 32 --crop_size 32",
        f"test.py {applied} --epoch best --full_size native",
        f"scripts/translate.py photos/large.png --name {name} --out done/{name} --device cpu",
    )
    assert "switched off" not in told and "no validation" not in told
    run, results = checkout / "checkpoints" / name, checkout / "results" / name
    straight, cut = outcome(run), outcome(run.with_name(f"{name}_cut"))
    assert straight.keys() == cut.keys()
    assert [key for key in straight if straight[key] != cut[key]] == []
    assert (run / "best_net_G.pth").is_file()
    last = json.loads((run / "validation.jsonl").read_text().splitlines()[-1])
    assert ("EMA" in last) == ("--ema" in flags)
    for shown, tested in {"": "0", "_2": "1"}.items():
        page = Image.open(run / "web" / "images" / f"epoch003{shown}_fake_B.png")
        result = Image.open(results / "val_latest" / "images" / f"{tested}_fake_B.png")
        assert np.array_equal(np.asarray(page), np.asarray(result))
    assert Image.open(results / "val_best" / "full" / "valA" / "0.png").size == (40, 40)
    (made,) = (checkout / "done" / name).iterdir()
    assert Image.open(made).size == (70, 90)


def test_the_network_that_makes_the_pictures_is_exported_or_there_is_none(checkout):
    short = f"{TINY} --n_epochs 1 --n_epochs_decay 0 --val_freq 0 --no_html"
    trained = [f"train.py --name {m}_out --model {m} {short}" for m in ("patchwise", "scales")]
    told = run_all(checkout, *trained, "scripts/export.py --name patchwise_out")
    assert "latest_net_G.onnx: " in told and "onnxruntime's results differ by" in told
    refused = run_all(checkout, "scripts/export.py --name scales_out", fails=True)
    assert "no single network makes the pictures of its model file" in refused


NEEDY = """
from .pix2pix_model import Pix2PixModel


class NeedyModel(Pix2PixModel):
    def set_input(self, input):
        Pix2PixModel.set_input(self, input)
        if not self.image_paths[0]:
            self.instances = input['inst']

    def update_learning_rate(self):
        Pix2PixModel.update_learning_rate(self)
        self.optimizer_G = self.adam(self.netG)
"""


def test_what_cannot_be_is_told_in_one_line(checkout):
    """An optimizer that replaces another would be in no checkpoint."""
    (checkout / "models" / "needy_model.py").write_text(NEEDY)
    line = f"--name needy --model needy --netG resnet_6blocks {TINY} --val_freq 0 --no_html"
    refused = run_all(checkout, f"train.py {line}", fails=True)
    assert "made another optimizer while training, Adam, which no checkpoint would hold" in refused
    applied = "--name needy --model needy --dataroot pictures --phase val --device cpu"
    refused = run_all(checkout, f"test.py {applied} --full_size native", fails=True)
    assert "NeedyModel cannot be applied to a photograph alone" in refused and "'inst'" in refused
