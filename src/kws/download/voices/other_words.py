"""Words that computed voices say beside the chosen ones: for class `_unknown_`, and for speech that is never heard."""

import re
from collections.abc import Iterable

# Everyday words with many different sounds at their start, in their middle and at their end. None sounds like another
# word that is written differently, so that a chosen word is not among them under another spelling.
ENGLISH = (  # noqa: SIM905 (reads better)
    "afternoon airplane apple balloon banana breakfast butterfly chicken children cousin dancing dinosaur doctor "
    "eleven engine finger friendship garden giraffe guitar happy hospital island jacket kitchen language machine "
    "mountain orange paper pocket question rabbit shoulder summer telephone umbrella village window yesterday"
).split()
# Likewise. `_unknown_` is never made of these, so that training does not hear them.
UNHEARD = (  # noqa: SIM905 (as above)
    "address blanket bottle bridge camera candle carpet corner cotton dollar elephant evening family forest furniture "
    "hammer holiday information ladder lemon magazine medicine minute monkey number office pencil pepper picture "
    "pillow radio river sandwich silver sister teacher together tomorrow towel vegetable"
).split()

# Short everyday words, to find words in that sound near to the chosen ones. Some sound like another word.
EVERYDAY = (  # noqa: SIM905 (as above)
    "able about above across act add after again age ago air all allow alone along also always among and anger "
    "animal ankle answer any appear arm army around arrive art ask aunt autumn away baby back bad bag bake ball "
    "band bank bar bark barn base basket bath battle beach bead beak beam bean bear beard beat beautiful because "
    "become bed bee beef been beer before begin behind believe bell belong below belt bench bend best better "
    "between beyond bike bill bird birth bit bite bitter black blade blame bless blind block blood blow blue board "
    "boat body boil bold bomb bone book boot border born borrow both bottom bow bowl box boy brain branch brave "
    "bread break breath brick bride bright bring broad brother brown brush bucket build bullet bump burn burst bus "
    "bush business busy butter button buy cabin cage cake call calm came camp can cap captain car card care carry "
    "cart case cash castle cat catch cattle cause cave ceiling cell center certain chain chair chalk chance change "
    "charm chart chase cheap check cheek cheer cheese chest chew chief child chimney chin choice choose church "
    "circle city claim clap class clay clean clear clever climb clock close cloth cloud club coach coal coast coat "
    "coffee coin cold collar color comb come common cook cool copper copy cord cork corn cost cough could "
    "count country couple course court cover cow crack crash cream creature crew crime crop cross crowd crown cruel "
    "cry cup cure curl curtain cushion custom cut damage damp dance danger dark dash date daughter dawn day dead "
    "deaf deal dear death debt deck deep deer delay dentist desert desk dice die diet dig dinner dip dirt dish dive "
    "divide dog doll donkey door dot double doubt dove down dozen drag drain draw dream dress drink drip drive drop "
    "drum dry duck due dull dust duty each eager ear early earn earth east easy eat edge egg eight elbow else empty "
    "end enemy enjoy enough enter equal escape even ever every exit extra eye face fact fade fail faint fair faith "
    "fall false fame fan far farm farmer fast fat father fault fear feast feather feed feel fellow fence fetch "
    "fever few field fierce fight fill film find fine fire firm first fish fist fit five fix flag flame flash flat "
    "flavor flesh flight float flock flood floor flour flow flower fly fog fold follow food fool foot force fork "
    "form forty forward found four fox frame free freeze fresh friend frog from front fruit fry full fun funny fur "
    "gain gallery game gap garage gas gate gather gave gentle get ghost giant gift girl give glad glass glove glue "
    "goal goat gold golf gone good goose got grain grand grape grass grave gray great greedy green greet grey grip "
    "ground group grow guard guess guest guide gun habit hair half hall ham hand handle hang happen harbor hard "
    "hardly harm hat hate have hay head heal health heap hear heart heat heavy heel height hello help hen herd here "
    "hero hide high hill hint hip hire hit hobby hold hole hollow home honest honey hood hook hop hope horn horse "
    "hot hotel hour house how huge hunger hunt hurry hurt ice idea ill inch indoors ink insect inside iron jam jar "
    "jaw jelly jet jewel job join joke journey joy judge juice jump junior jury just keep kettle key kick kid kill "
    "kind king kiss kite knee kneel knife knock knot know lack lake lamb lame lamp land lane lap large last late "
    "laugh law lawn lawyer lay lazy lead leaf leak lean leap learn least leather leave left leg lend lesson let "
    "letter level lid lie life lift light like limb limit line lion lip list listen little live load loaf loan lock "
    "log lonely long look loose lord lose lot loud love low luck lucky lump lunch lung mad magic mail main make "
    "male man manner many map march mark market marry mask mat match matter may maybe meal mean measure meat medal "
    "meet melt member memory mend mention mercy merry metal middle might mild mile milk mill mind mine minor mirror "
    "miss mist mistake mix model modern moment money month mood moon more morning most moth mother motor mouse "
    "mouth move movie much mud muscle music must nail name narrow nasty nation nature navy near neat neck need "
    "needle nephew nerve nest net never new news next nice night nine nod noise none noon nor north nose note "
    "nothing notice noun now nurse nut oak obey ocean odd off offer often oil old olive once one onion only open "
    "orchard order other ought ounce our out oven over owl own pack page pain paint pair palace pale palm pan park "
    "parrot part party pass past path patient pause pay pea peace peach peak pear peel pen penny people perfect "
    "perhaps person phone photo piano pick picnic piece pig pile pill pilot pin pinch pine pink pipe pit pity place "
    "plain plan plane plant plate play please plenty plow plum poem poet point poison pole polish polite pond pony "
    "pool poor pop port post pot potato pound pour powder power practice praise pray present press pretty price "
    "pride priest prince print prison prize problem promise proof proud pull pump pupil pure push put puzzle quack "
    "quarrel quarter queen quick quiet quilt quite race rack rail rain raise ranch rap rare rat rate raw reach read "
    "ready real reason red refuse remain rent repair reply rest return ribbon rice rich ride ring ripe rise road "
    "roar roast rob robin rock rocket rod roll roof room root rope rose rotten rough round row royal rub rubber "
    "rude rug ruin rule ruler run rush rust sack sad saddle safe sail sailor salad salt same sand sauce save saw "
    "say scale scene school score scrape screw sea seal search season seat second secret see seed seem sell send "
    "sense serve set settle seven several sew shade shadow shake shallow shame shape share sharp shave she shed "
    "sheep sheet shelf shell shine ship shirt shock shoe shoot shop shore short shot should shout show shower shut "
    "shy sick side sight sign silence silk silly simple since sing sink sit six size skate skill skin skirt sky "
    "slave sleep sleeve slice slide slight slip slow small smart smell smile smoke smooth snake snow so soap sock "
    "soft soil soldier solid some son song soon sore sorry sort soul sound soup sour south sow space spade spare "
    "speak speed spell spend spider spill spin spirit spite spoil spoon sport spot spread spring square stable "
    "staff stage stain stair stamp stand star stare start state station stay steal steam steel steep stem step "
    "stick stiff still stir stomach stone stool stoop storm story stove strange straw stream street string "
    "strip strong student study stuff stupid sugar suit sun supper sure swallow sweat sweep sweet swim swing sword "
    "table tail tailor take tale talk tall tame tank tap tape task taste tax taxi tea teach team tear tell ten "
    "tennis tent test than thank that theater then there thick thief thigh thin thing think third thirsty this "
    "thorn those though thought thread three throat throne through throw thumb thunder ticket tide tidy tie tiger "
    "tight till time tin tiny tip tire title toast toe tomato tongue tonight tool tooth top torch total touch tough "
    "tour town toy track trade traffic train tramp trap travel tray tree trial trick trip trouble trousers true "
    "trunk trust truth try tube tune tunnel turkey turn twelve twice twin twist type ugly uncle under uniform union "
    "until up upon upper upset use useful usual valley value van vase veil verse very vest view violin visit voice "
    "vote wage wagon waist wait wake walk wall wander want war warm wash wasp waste watch water wave wax way weak "
    "wealth wear weather weave wedding weed week weigh welcome well west wet whale what wheat wheel when where whip "
    "whistle white who whole why wide width wife wild will win wind wine wing winter wipe wire wise wish witch with "
    "wolf woman wonder wood wool word work world worm worry worth wound wrap wreck wrist write wrong yard yawn year "
    "yell yellow yet yield young zebra zero zone"
).split()


def other_words(words: Iterable[str]) -> list[str]:
    """Other words for English voices, to make `_unknown_` of: not the given words, nor the words they are made of."""
    return _without(words, ENGLISH)


def unheard_words(words: Iterable[str]) -> list[str]:
    """Other words for English voices, which training does not hear if it hears the given words and `other_words`."""
    return _without(words, UNHEARD)


def everyday_words(words: Iterable[str]) -> list[str]:
    """Short words for English voices: not the given words, nor the words they are made of, nor `unheard_words`."""
    return _without([*words, *UNHEARD], EVERYDAY)


def _without(words: Iterable[str], others: Iterable[str]) -> list[str]:
    known = {part for word in words for part in re.split(r"[\W_]+", word.casefold())}
    return [word for word in others if word not in known]
