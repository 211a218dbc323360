"""nnU-Net v2's trainers whose networks are the plan's own.

A trainer's class may build any network it likes and leave no trace of it in the file. So only
trainers that are known to change the training alone are taken, by name; the names are compared
and never imported. From nnU-Net v2 (up to 2.8.1) and the trainers of published models.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from ..domain.errors import ModelError

STANDARD_TRAINERS = frozenset(
    {
        "nnUNetTrainer",
        # data augmentation
        "nnUNetTrainerDA5",
        "nnUNetTrainerDA5ord0",
        "nnUNetTrainerDA5Segord0",
        "nnUNetTrainerDAOrd0",
        "nnUNetTrainerNoDA",
        "nnUNetTrainerNoMirroring",
        "nnUNetTrainer_DASegOrd0",
        "nnUNetTrainer_DASegOrd0_NoMirroring",
        "nnUNetTrainer_noDummy2DDA",
        "nnUNetTrainer_onlyMirror01",
        "nnUNetTrainer_onlyMirror01_1500ep",
        "nnUNetTrainer_onlyMirror01_DA5",
        "nnUNetTrainer_onlyMirror01_DASegOrd0",
        # loss
        "nnUNetTrainerCELoss",
        "nnUNetTrainerDiceCELoss_noSmooth",
        "nnUNetTrainerDiceLoss",
        "nnUNetTrainerDiceTopK10Loss",
        "nnUNetTrainerSkeletonRecall",
        "nnUNetTrainerTopk10Loss",
        "nnUNetTrainerTopk10LossLS01",
        # optimiser, schedule, sampling, batch
        "nnUNetTrainerAdam",
        "nnUNetTrainerAdam1en3",
        "nnUNetTrainerAdam3en4",
        "nnUNetTrainerAdan",
        "nnUNetTrainerAdan1en1",
        "nnUNetTrainerAdan1en3",
        "nnUNetTrainerAdan3en4",
        "nnUNetTrainerAdanCosAnneal",
        "nnUNetTrainerCosAnneal",
        "nnUNetTrainerVanillaAdam",
        "nnUNetTrainerVanillaAdam1en3",
        "nnUNetTrainerVanillaAdam3en4",
        "nnUNetTrainer_betterIgnoreSampling",
        "nnUNetTrainer_probabilisticOversampling",
        "nnUNetTrainer_probabilisticOversampling_010",
        "nnUNetTrainer_probabilisticOversampling_033",
        "nnUNetTrainer_warmup",
        "nnUNet_Trainer_BS8",
        # All segmentation layers exist without deep supervision too; the last one predicts.
        "nnUNetTrainerNoDeepSupervision",
        # length
        "nnUNetTrainerBenchmark_5epochs",
        "nnUNetTrainerBenchmark_5epochs_noDataLoading",
        "nnUNetTrainerCELoss_5epochs",
        "nnUNetTrainerDA5_10epochs",
        # TotalSegmentator's own
        "nnUNetTrainerDiceTopK10Loss_2000epochs",
        "nnUNetTrainer_MOSAIC_1k_QuarterLR_NoMirroring",
    }
)

_LENGTHS = re.compile(r"nnUNetTrainer_[0-9]{1,5}epochs?(_NoMirroring)?")
"""nnUNetTrainer_5epochs, nnUNetTrainer_4000epochs_NoMirroring, ...: a number, nothing else."""

_OTHER_NETWORKS: Mapping[str, str] = {
    "nnUNetTrainerBN": "it normalises over the batch and not over the instance",
}
_PRIMUS = re.compile(r"(nnUNet)?_?Primus")


def check_trainer(name: str, path: Path, *, assume_standard: bool) -> None:
    """Refuses models of trainers that may have built another network.

    Args:
        name: of the trainer's class.
        path: the checkpoint, for the message.
        assume_standard: the user vouches for a trainer that is not known. One that is known to
            build another network is refused all the same.

    Raises:
        ModelError: the reason.
    """
    reason = _OTHER_NETWORKS.get(name, "")
    if _PRIMUS.match(name):
        reason = "its network is a transformer"
    if reason:
        raise ModelError(
            f"the trainer {name} built a network that cannot be rebuilt here",
            expected="nnU-Net's plain or residual U-Net with instance normalisation",
            found=reason,
            cure="import another model, or train one with `selfseg run`",
            path=path,
        )
    if assume_standard or name in STANDARD_TRAINERS or _LENGTHS.fullmatch(name):
        return
    raise ModelError(
        f"the trainer {name[:100]!r} is not known",
        expected="one that is known to train the plan's own network, such as nnUNetTrainer",
        found="a class that may have built any network: the file does not say",
        cure="where you know that it changes the training alone (loss, augmentation, length), "
        "import with --standard-network",
        path=path,
    )
