"""The families of anatomy: ellipses and bars, placed such that upright is recognisable.

A table lies below, a neck above or below, the spine behind, a fibula to one side. Every family takes a generator and
the parameters and returns one upright phantom without defect. The numbers are body coordinates judged by eye; they
are crude on purpose and stand for no measured anatomy.
"""

from dataclasses import replace

import numpy as np

from field import Field, Phantom, finish, paint, table


def head_axial(rng, parameters) -> Phantom:
    # Heads fill less of a CT field than bodies do: the field is often left wide.
    field = Field(rng, replace(parameters, fill=(parameters.fill[0] - 0.1, parameters.fill[1])), half=(0.95, 1.08))
    modality = str(rng.choice(["ct", "ct", "mr"]))
    a, b = rng.uniform(0.62, 0.88), rng.uniform(0.82, 0.96)
    level = str(rng.choice(["top", "ventricles", "base"] if modality == "ct" else ["ventricles", "base"]))
    skin, bone, brain, fluid, air = (
        (rng.uniform(-0.1, 0.1), rng.uniform(0.6, 1.3), rng.uniform(0.0, 0.1), -0.02, -1.0)
        if modality == "ct"
        else (rng.uniform(0.5, 1.0), rng.uniform(0.0, 0.15), rng.uniform(0.3, 0.7), rng.choice([0.05, 1.0]), 0.0)
    )
    if modality == "ct" and rng.random() < 0.5:  # a brain window stretches soft tissue
        bone, fluid, air = brain + 0.15, brain - 0.08, brain - 0.25
        skin = brain - rng.uniform(0, 0.05)
    image = np.full(field.u.shape, air, np.float32)
    # Egg shape: the forehead (up) is narrower than the back of the head.
    egg = rng.uniform(0.08, 0.2)
    plain = field.u
    field.u = plain / (1 + egg * np.clip(field.v, -1, 1))
    outline = field.ellipse(0, 0, a, b, wobble=rng)
    if level == "base":
        if rng.random() < 0.6:
            outline = np.maximum(outline, field.ellipse(0, -b * 0.98, 0.13, rng.uniform(0.08, 0.18)))  # nose
        ears = rng.uniform(0.1, 0.45)
        for side in (-1, 1):
            outline = np.maximum(outline, field.ellipse(side * a * rng.uniform(0.95, 1.05), ears, 0.08, 0.15, side * 20))
        if rng.random() < 0.6:  # the nape, soft tissue behind the skull
            outline = np.maximum(outline, field.ellipse(0, b * 0.75, a * rng.uniform(0.5, 0.8), b * rng.uniform(0.3, 0.45)))
    paint(image, outline, skin)
    scalp, skull = rng.uniform(0.03, 0.08), rng.uniform(0.04, 0.11)
    paint(image, field.ellipse(0, 0.02, a - scalp, b - scalp), bone)
    paint(image, field.ellipse(0, 0.02, a - scalp - skull, b - scalp - skull), brain)
    if level == "top":
        paint(image, field.bar(0, -b * 0.75, 0, b * 0.75, 0.012, 0.012), brain + 0.1 * (bone - brain))
    elif level == "ventricles":
        w = rng.uniform(0.05, 0.1)
        for side in (-1, 1):
            paint(image, field.ellipse(side * 0.12, -0.25, w, 0.2, -side * rng.uniform(15, 30)), fluid)
            paint(image, field.ellipse(side * 0.25, 0.3, w * 0.8, 0.18, side * rng.uniform(20, 40)), fluid)
        paint(image, field.ellipse(0, -b * 0.78, 0.03, 0.1), bone)
        paint(image, field.ellipse(0, b * 0.72, 0.1, 0.06), bone)
    else:
        orbits = rng.random() < 0.6
        for side in (-1, 1):
            if orbits:
                paint(image, field.ellipse(side * 0.3, -b * 0.58, 0.2, 0.22), skin)
            paint(image, field.bar(side * 0.12, 0.0, side * a * 0.85, 0.3, 0.07, 0.11), bone)  # petrous bone
            paint(image, field.ellipse(side * a * 0.75, 0.3, 0.1, 0.08), air)  # mastoid air
            paint(image, field.bar(side * 0.1, -0.1, side * a * 0.85, -0.4, 0.03, 0.03), bone)  # sphenoid wing
        paint(image, field.ellipse(0, -b * 0.55, 0.09, 0.25), air)  # ethmoid air cells
        if rng.random() < 0.6:
            paint(image, field.ellipse(0, -b * 0.82, rng.uniform(0.15, 0.45), rng.uniform(0.05, 0.1)), air)  # frontal sinus
        paint(image, field.ellipse(0, b * 0.8, 0.06, 0.08), bone)
    field.u = plain
    image += field.texture(rng, 12) * outline * rng.uniform(0, 0.03)
    if modality == "ct" and (level == "top" or rng.random() < 0.75):
        grey = air + rng.uniform(0.15, 0.6) * (skin - air + 0.05)
        wide, deep = a + rng.uniform(0.05, 0.25), b + rng.uniform(0.03, 0.15)
        ring = field.ellipse(0, 0.05, wide + 0.04, deep + 0.04, power=2.6) - field.ellipse(0, 0.05, wide, deep, power=2.6)
        rest = ring * (field.v > rng.uniform(-0.4, 0.45)) * (1 - outline)
        if rng.random() < 0.25:  # a wide holder: only its upright sides stand in the field
            rest = rest * (field.v < rng.uniform(0.5, 0.8))
        paint(image, np.clip(rest, 0, 1), grey)
    return finish(rng, field, image, outline, modality)


def body_axial(rng, parameters) -> Phantom:
    field = Field(rng, parameters, half=(1.05, rng.uniform(0.72, 1.05)))
    modality = str(rng.choice(["ct", "mr"]))
    a, b = rng.uniform(0.88, 1.02), rng.uniform(0.58, 0.72)
    fat, muscle, organ, bone, marrow, air, lung = (
        (-0.1, 0.05, rng.uniform(0.06, 0.2), rng.uniform(0.4, 1.0), 0.25, -1.0, -0.8)
        if modality == "ct"
        else (rng.uniform(0.1, 1.0), rng.uniform(0.15, 0.35), rng.uniform(0.3, 0.8), 0.05, rng.uniform(0.2, 0.5), 0.0, 0.02)
    )
    image = np.full(field.u.shape, air, np.float32)
    outline = np.minimum(field.ellipse(0, 0, a, b, wobble=rng, power=rng.uniform(2, 2.6)),
                         np.clip((b * rng.uniform(0.86, 1.0) - field.v) * field.sharpness, 0, 1))  # flat back
    paint(image, outline, fat)
    if rng.random() < 0.4:  # arms beside the body
        for side in (-1, 1):
            arm = field.ellipse(side * (a + 0.12), rng.uniform(-0.1, 0.25), 0.12, 0.15)
            paint(image, arm, muscle)
            paint(image, arm * field.ellipse(side * (a + 0.12), 0.1, 0.04, 0.04), bone)
    rind = rng.uniform(0.04, 0.14)
    inner = field.ellipse(0, -0.01, a - rind, b - rind, power=2.2) * outline
    paint(image, inner, muscle)
    if rng.random() < 0.5:
        paint(image, field.ellipse(0, -0.06, a - rind - 0.09, b - rind - 0.12), organ if rng.random() < 0.5 else fat)
    spine = b * rng.uniform(0.35, 0.5)
    if rng.random() < 0.4:  # chest
        for side in (-1, 1):
            paint(image, field.ellipse(side * 0.47, -0.05, rng.uniform(0.26, 0.34), rng.uniform(0.36, 0.44), side * 8), lung)
        paint(image, field.ellipse(0.12, -0.12, rng.uniform(0.2, 0.3), 0.24, 25), organ)  # heart, to the image's right
        paint(image, field.ellipse(0, -b + rind + 0.04, 0.1, 0.035), bone)  # sternum
    else:
        paint(image, field.ellipse(-0.45, -0.1, rng.uniform(0.3, 0.42), rng.uniform(0.3, 0.4), 10), organ + rng.uniform(0, 0.1))  # liver
        paint(image, field.ellipse(0.55, 0.05, 0.13, 0.24, -10), organ)  # spleen
        paint(image, field.ellipse(0.3, -0.3, 0.22, 0.13, 15), rng.choice([air, organ * 0.7]))  # stomach
        for side in (-1, 1):
            if rng.random() < 0.75:
                paint(image, field.ellipse(side * 0.38, spine - 0.02, 0.11, 0.15, side * 20), organ + rng.uniform(0, 0.4))  # kidney
        for _ in range(rng.integers(0, 7)):
            paint(image, field.ellipse(rng.uniform(-0.4, 0.5), rng.uniform(-0.4, 0.05), rng.uniform(0.04, 0.1), rng.uniform(0.04, 0.1)),
                  rng.choice([air, organ, fat]))  # bowel
    for _ in range(rng.integers(0, 12)):  # ribs
        theta = rng.uniform(0, 2 * np.pi)
        paint(image, field.ellipse((a - rind - 0.05) * np.cos(theta), (b - rind - 0.05) * np.sin(theta), 0.06, 0.025, np.degrees(theta) + 90) * outline, bone)
    for side in (-1, 1):
        paint(image, field.ellipse(side * 0.17, spine + 0.2, 0.14, 0.08) * outline, muscle * 1.1)
        paint(image, field.bar(0, spine + 0.1, side * 0.2, spine + 0.14, 0.035, 0.025) * outline, bone)
    radius = rng.uniform(0.12, 0.17)
    paint(image, field.ellipse(0, spine, radius, radius * 0.85), bone)
    paint(image, field.ellipse(0, spine, radius * 0.8, radius * 0.65), marrow)
    paint(image, field.ellipse(0, spine + radius * 1.05, 0.055, 0.045), muscle if modality == "ct" else rng.choice([0.2, 1.0]))  # canal
    paint(image, field.bar(0, spine + radius * 1.3, 0, min(spine + 0.32, b * 0.9), 0.03, 0.02) * outline, bone)
    paint(image, field.ellipse(rng.choice([-0.05, 0.08]), spine - radius - 0.06, 0.05, 0.05), organ + rng.choice([0.0, 0.4]))  # aorta
    image += field.texture(rng, 16) * inner * rng.uniform(0, 0.05)
    if modality == "ct" and rng.random() < 0.85:
        lowered = field.v
        field.v = lowered + (1 - b) - rng.uniform(0.0, 0.08)
        table(rng, field, image)
        field.v = lowered
    return finish(rng, field, image, outline, modality)


def head_sagittal(rng, parameters) -> Phantom:
    field = Field(rng, parameters, half=(0.95, 1.08))
    skin, bone, brain, fluid, air = rng.uniform(0.5, 1.0), rng.uniform(0.02, 0.2), rng.uniform(0.3, 0.7), rng.choice([0.05, 0.95]), 0.0
    image = np.full(field.u.shape, air, np.float32)
    outline = field.ellipse(0.03, -0.3, rng.uniform(0.74, 0.82), rng.uniform(0.6, 0.7), wobble=rng)
    face = np.maximum(field.ellipse(-0.4, 0.2, rng.uniform(0.3, 0.38), rng.uniform(0.48, 0.6), 8), field.ellipse(-0.76, 0.12, 0.09, 0.16, 25))  # nose, to the left
    neck = field.bar(0.1, 0.2, 0.28, 1.4, rng.uniform(0.3, 0.38), rng.uniform(0.32, 0.42))
    outline = np.maximum(outline, np.maximum(face, neck))
    paint(image, outline, skin * rng.uniform(0.6, 0.95))
    paint(image, field.ellipse(0.03, -0.3, 0.7, 0.57), bone)
    paint(image, field.ellipse(0.03, -0.3, 0.64, 0.51), brain)
    paint(image, field.ellipse(0.0, -0.28, 0.3, 0.12, -8), brain * 1.25)  # corpus callosum
    paint(image, field.ellipse(0.02, -0.23, 0.24, 0.09, -8), fluid)
    paint(image, field.ellipse(0.4, 0.1, 0.2, 0.16), brain * 0.85)  # cerebellum, behind
    paint(image, field.bar(0.1, 0.05, 0.2, 0.4, 0.09, 0.06), brain)  # brain stem
    paint(image, field.bar(0.2, 0.35, 0.34, 1.4, 0.05, 0.04), brain * 0.9)  # cord
    for k in range(5):
        paint(image, field.ellipse(0.11 + 0.03 * k, 0.5 + 0.16 * k, 0.09, 0.06, 10), rng.uniform(0.4, 0.6))  # vertebrae
    paint(image, field.ellipse(-0.55, 0.12, 0.16, 0.07), air)  # nasal cavity
    paint(image, field.ellipse(-0.5, 0.36, 0.2, 0.12), skin * 0.6)  # tongue
    paint(image, field.bar(-0.2, 0.2, -0.1, 1.3, 0.05, 0.06), air)  # airway
    image += field.texture(rng, 14) * outline * rng.uniform(0, 0.05)
    return finish(rng, field, image, outline, "mr")


def chest(rng, parameters) -> Phantom:
    field = Field(rng, replace(parameters, fill=(parameters.fill[0] + 0.2, parameters.fill[1] + 0.05)), half=(0.95, 1.0))
    w = rng.uniform(0.72, 0.85)
    outline = np.maximum(field.ellipse(0, 0.3, w, 1.05, wobble=rng, power=3), field.bar(0, -1.4, 0, -0.4, 0.2, 0.34))
    shoulder = rng.uniform(-0.75, -0.6)
    outline = np.maximum(outline, field.bar(-0.62, shoulder + 0.18, 0.62, shoulder + 0.18, 0.24, 0.24))
    for side in (-1, 1):
        outline = np.maximum(outline, field.bar(side * 0.75, shoulder + 0.2, side * rng.uniform(0.9, 1.05), 0.7, 0.18, 0.12))
    image = outline * rng.uniform(0.4, 0.6)
    dome = rng.uniform(0.45, 0.65)
    lungs = np.zeros_like(image)
    for side in (-1, 1):
        top, bottom = rng.uniform(-0.8, -0.68), dome + (0.06 if side > 0 else 0.0)
        lung = field.ellipse(side * 0.38, (top + bottom) / 2, rng.uniform(0.26, 0.32), (bottom - top) / 2 + 0.12, side * -5, power=2.4)
        lung *= 1 - field.ellipse(side * 0.38, bottom + 0.22, 0.42, 0.28)  # diaphragm, a dome from below
        lungs = np.maximum(lungs, lung)
    image -= lungs * rng.uniform(0.22, 0.4)
    image += field.ellipse(0, 0.0, 0.12, 1.3) * rng.uniform(0.1, 0.25)  # spine and mediastinum
    image += field.ellipse(rng.uniform(0.1, 0.18), dome - 0.2, rng.uniform(0.22, 0.32), rng.uniform(0.24, 0.3), 25) * rng.uniform(0.12, 0.25)  # heart
    image += np.clip((field.v - dome - 0.1) * 4, 0, 1) * outline * rng.uniform(0.05, 0.2)  # abdomen
    if rng.random() < 0.5:
        image -= field.ellipse(0.35, dome + 0.14, 0.14, 0.07) * 0.2  # stomach bubble
    image -= field.bar(0, -1.3, 0, -0.35, 0.045, 0.045) * rng.uniform(0.05, 0.15)  # trachea
    ribs = rng.uniform(0.03, 0.12)
    for k in range(8):
        for side in (-1, 1):
            y = -0.72 + 0.16 * k
            ring = field.ellipse(side * 0.36, y + 0.2, 0.38, 0.24) - field.ellipse(side * 0.36, y + 0.24, 0.38, 0.24)
            image += np.clip(ring, 0, 1) * (field.v < y + 0.25) * ribs
    for side in (-1, 1):
        image += field.bar(side * 0.08, -0.62, side * 0.65, -0.8, 0.035, 0.03) * rng.uniform(0.1, 0.25)  # clavicle
        image += field.bar(side * 0.78, shoulder + 0.2, side * 0.9, 0.6, 0.07, 0.05) * 0.25  # humerus
    image += field.texture(rng, 20) * outline * rng.uniform(0, 0.03)
    return finish(rng, field, image, outline, "radiograph")


def knee(rng, parameters) -> Phantom:
    field = Field(rng, parameters, half=(rng.uniform(0.55, 0.85), 0.95))
    side = rng.choice([-1, 1])
    top, bottom = rng.uniform(0.42, 0.52), rng.uniform(0.28, 0.36)
    outline = np.maximum(field.bar(0, -1.6, 0, 0, top + 0.06, top * 0.85), field.bar(0, 0, 0, 1.6, top * 0.85, bottom))
    image = outline * rng.uniform(0.25, 0.5)
    bone = rng.uniform(0.25, 0.5)
    shaft = rng.uniform(0.13, 0.17)
    femur = np.maximum(field.bar(0, -1.6, 0, -0.3, shaft, shaft), field.bar(0, -0.45, 0, -0.22, shaft, 0.26))
    for s in (-1, 1):
        femur = np.maximum(femur, field.ellipse(s * 0.17, -0.16, 0.17, 0.15))  # condyles
    tibia = np.maximum(field.ellipse(0, 0.12, 0.34, 0.1, power=3), field.bar(0, 0.2, 0, 0.5, 0.26, shaft * 0.9))
    tibia = np.maximum(tibia, field.bar(0, 0.4, 0, 1.6, shaft * 0.95, shaft * 0.8))
    fibula = np.maximum(field.ellipse(side * 0.3, 0.33, 0.08, 0.1), field.bar(side * 0.3, 0.35, side * 0.27, 1.6, 0.05, 0.045))
    image += bone * np.maximum(femur, np.maximum(tibia, 0.7 * fibula))
    image += 0.35 * bone * field.ellipse(0, -0.3, 0.16, 0.17)  # patella
    for v0, v1 in ((-1.6, -0.55), (0.65, 1.6)):
        image -= 0.35 * bone * field.bar(0, v0, 0, v1, shaft * 0.5, shaft * 0.5)  # marrow
    image += field.texture(rng, 16) * outline * rng.uniform(0, 0.03)
    return finish(rng, field, image, outline, "radiograph")


def hand(rng, parameters) -> Phantom:
    field = Field(rng, parameters, half=(rng.uniform(0.7, 0.9), 1.0))
    side = rng.choice([-1, 1])
    palm = field.ellipse(0, 0.2, 0.36, 0.38, power=2.6)
    outline = np.maximum(palm, field.bar(0, 0.45, 0, 1.6, 0.25, rng.uniform(0.26, 0.34)))
    bones = np.zeros_like(palm)
    spread = rng.uniform(0.5, 1.3)
    for k, length in zip((-1.5, -0.5, 0.5, 1.5), (0.82, 0.95, 0.88, 0.68)):
        u0, u1 = side * k * 0.17, side * k * (0.17 + 0.09 * spread)
        v0, v1 = 0.0, -length
        outline = np.maximum(outline, field.bar(u0, v0, u1, v1, 0.095, 0.075))
        bones = np.maximum(bones, field.bar(side * k * 0.1, 0.42, u0, 0.02, 0.05, 0.05))
        for start, end in ((0.06, 0.44), (0.5, 0.74), (0.8, 0.98)):
            at = lambda t: (u0 + t * (u1 - u0), v0 + t * (v1 - v0))
            bones = np.maximum(bones, field.bar(*at(start), *at(end), 0.045, 0.035))
    thumb = (-side * 0.25, 0.4, -side * rng.uniform(0.55, 0.72), rng.uniform(-0.15, 0.05))
    outline = np.maximum(outline, field.bar(*thumb, 0.13, 0.08))
    bones = np.maximum(bones, field.bar(*thumb, 0.05, 0.035))
    for _ in range(7):
        bones = np.maximum(bones, field.ellipse(rng.uniform(-0.18, 0.18), rng.uniform(0.46, 0.6), 0.07, 0.06))
    bones = np.maximum(bones, field.bar(-side * 0.1, 0.68, -side * 0.11, 1.6, 0.11, 0.08))  # radius
    bones = np.maximum(bones, field.bar(side * 0.13, 0.72, side * 0.12, 1.6, 0.07, 0.07))  # ulna
    image = outline * rng.uniform(0.2, 0.4) + bones * rng.uniform(0.3, 0.5)
    image += field.texture(rng, 16) * outline * rng.uniform(0, 0.03)
    return finish(rng, field, image, outline, "radiograph")


def pelvis(rng, parameters) -> Phantom:
    """Never trained on: it measures what the model makes of anatomy that it has not seen."""
    field = Field(rng, parameters, half=(1.0, 0.95))
    outline = np.maximum(field.ellipse(0, -0.3, 0.88, 0.9, wobble=rng, power=3), field.bar(-0.4, 0.4, -0.42, 1.5, 0.42, 0.34))
    outline = np.maximum(outline, field.bar(0.4, 0.4, 0.42, 1.5, 0.42, 0.34))
    image = outline * rng.uniform(0.35, 0.5)
    bone = rng.uniform(0.15, 0.3)
    bones = field.bar(0, -1.4, 0, -0.35, 0.13, 0.14)
    bones = np.maximum(bones, field.bar(0, -0.4, 0, 0.1, 0.2, 0.05))  # sacrum
    for side in (-1, 1):
        bones = np.maximum(bones, field.ellipse(side * 0.45, -0.4, 0.22, 0.34, side * 25))  # iliac wing
        bones = np.maximum(bones, field.bar(side * 0.4, -0.1, side * 0.48, 0.25, 0.1, 0.13))
        ring = field.ellipse(side * 0.2, 0.45, 0.2, 0.15) - field.ellipse(side * 0.2, 0.45, 0.11, 0.08)
        bones = np.maximum(bones, np.clip(ring, 0, 1))  # ischium and pubis
        bones = np.maximum(bones, field.ellipse(side * 0.5, 0.22, 0.13, 0.13))
        bones = np.maximum(bones, field.bar(side * 0.5, 0.22, side * 0.66, 0.42, 0.09, 0.1))
        bones = np.maximum(bones, field.bar(side * 0.66, 0.4, side * 0.58, 1.5, 0.1, 0.08))  # femur
    image += bone * bones + field.texture(rng, 16) * outline * rng.uniform(0, 0.03)
    return finish(rng, field, image, outline, "radiograph")


FAMILIES = {
    "head_axial": head_axial, "body_axial": body_axial, "head_sagittal": head_sagittal,
    "chest": chest, "knee": knee, "hand": hand, "pelvis": pelvis,
}
