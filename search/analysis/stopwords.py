"""Function words by language: what a query drops, and by what share of them a text's language is told.

Articles, pronouns, prepositions, conjunctions, auxiliaries, question words: words that say nothing of what a
text is about. Folded as the analyser folds words, and cut as it cuts them ("don't" is `don` and `t`).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from types import MappingProxyType

_LISTS = {
    "en": """a about above after again against all am an and any are aren as at be because been before being
        below between both but by can cannot could couldn d did didn do does doesn doing don down during
        each few for from further had hadn has hasn have haven having he her here hers herself him himself
        his how i if in into is isn it its itself ll m me more most mustn my myself no nor not now of off on
        once only or other our ours ourselves out over own re s same shan she should shouldn so some such t
        than that the their theirs them themselves then there these they this those through to too under
        until up ve very was wasn we were weren what when where which while who whom why will with won would
        wouldn you your yours yourself yourselves""",
    "de": """aber alle allem allen aller alles als also am an andere anderen anderer anderes auch auf aus
        bei beim bin bis bist da dabei dafür damit dann daran darauf daraus darin darum das dass dein deine
        dem den denen denn der deren des dessen dich die dies diese diesem diesen dieser dieses dir doch
        dort du durch ein eine einem einen einer eines er es etwas euch euer eure für gegen gibt hab habe
        haben hat hatte hatten hier hin hinter ich ihm ihn ihnen ihr ihre ihrem ihren ihrer ihres im in
        indem ins ist jede jedem jeden jeder jedes jene jetzt kann kein keine keinem keinen keiner können
        könnte man manche mein meine mich mir mit muss musste nach nicht nichts noch nun nur ob oder ohne
        sehr sein seine seinem seinen seiner seines seit selbst sich sie sind so solche soll sollte sondern
        sowie über um und uns unser unsere unter viel vom von vor während wann war waren warum was weil
        welche welchem welchen welcher welches wem wen wenn wer werden weshalb wessen wie wieso wieder wird
        wo wobei wodurch wofür woher wohin womit worauf woraus worden worin wurde wurden würde zu zum zur
        zwar zwischen""",
    "fr": """à afin ai aient ainsi alors après as au aucun aucune aujourd auquel aussi autre autres aux
        avaient avait avant avec avez avoir avons c ça car ce ceci cela celle celles celui ces cet cette
        ceux chaque chez ci combien comme comment d dans de depuis des donc dont du elle elles en encore
        entre es est et étaient était étant été être eu eux fait font hui il ils j je jusqu l la laquelle là
        le lequel les lesquelles lesquels leur leurs lors lorsque lui m ma mais me même mêmes mes moi moins
        mon n ne ni non nos notre nous on ont or ou où par parce pas pendant peu peut plus pour pourquoi
        près puis qu quand que quel quelle quelles quels qui quoi quelque quelques s sa sans se sera ses si
        son sont sous sur t ta te tes toi ton tous tout toute toutes très trop tu un une vers voici voilà
        vos votre vous y""",
    "es": """a al algo algún alguna algunas alguno algunos ante antes aquel aquella aquellas aquello
        aquellos así aún aunque bajo bien cada como cómo con contra cual cuál cuales cuáles cualquier cuando
        cuándo cuánta cuántas cuánto cuántos de del desde donde dónde dos durante e el él ella ellas ello
        ellos en entre era eran es esa esas ese eso esos esta está están estaba estar estas este esto estos
        fue fueron ha haber había han has hasta hay he la las le les lo los más me mi mí mientras mis mucho
        muchos muy nada ni no nos nosotros nuestra nuestro o os otra otras otro otros para pero poco por
        porque puede pueden pues que qué quien quién quienes quiénes se sea según ser si sí sido sin sino
        sobre son su sus también tan tanto te tenía ti tiene tienen toda todas todo todos tras tu tú un una
        unas uno unos y ya yo""",
    "it": """a abbia abbiamo ad agli ai al alla alle allo altra altre altri altro anche ancora avere aveva
        avevano c che chi ci ciascuno cioè coi col come con contro così cosa cui d da dagli dai dal dalla
        dalle dallo degli dei del dell della delle dello dentro di dopo dove due durante e è ed era erano
        essere fa fino fra fu furono già gli ha hai hanno ho i il in io l la le lei li lo loro lui ma me
        mentre mi mia mie miei mio molto ne negli nei nel nell nella nelle nello nessuno no noi non nostra
        nostro o ogni oltre per perché perciò però più poi può qual quale quali quando quanta quante quanti
        quanto quella quelle quelli quello questa queste questi questo qui se sei senza si sia sono sopra
        sotto sta stata stati stato su sua sue sugli sui sul sulla sulle suo suoi tra tu tua tuo tutta tutte
        tutti tutto un una uno vi voi""",
    "pt": """a à ainda algum alguma algumas alguns ante antes ao aos apenas após aquela aquelas aquele
        aqueles aquilo as às assim até cada com como contra cujo da das de dela delas dele deles depois
        desde dessa desse desta deste do dos durante e é ela elas ele eles em embora enquanto entre era eram
        essa essas esse esses esta está estão estas estava este estes eu foi foram há isso isto já la lhe
        lhes lo mais mas me mesmo meu meus minha muito muitos na não nas nem nenhum no nos nós nossa nosso
        num numa o onde os ou outra outras outro outros para pela pelas pelo pelos pode podem pois por
        porque porquê qual quais qualquer quando quanta quantas quanto quantos que quê quem são se seja sem
        sempre ser será seu seus si sido sob sobre sua suas também tão te tem têm tinha toda todas todo
        todos tu tua um uma umas uns você vocês""",
    "nl": """aan achter al alle alles als andere bij binnen boven buiten daar daarom dan dat de deze die dit
        door dus een eens elk elke en er even geen had hadden heb hebben heeft hem het hier hij hoe hoeveel
        hun ik in is ja je jij jouw kan kon kunnen langs maar me meer men met mij mijn moet na naar naast
        niet niets nog nu of om omdat onder ons onze ook op over reeds sinds te tegen ten ter terwijl toch
        toen tot tussen u uit uw van vanaf veel voor waar waarom waren was wat we welk welke werd werden wie
        wij wil worden wordt zal ze zelf zich zij zijn zo zonder zou zouden""",
    "sv": """all alla allt än andra är åt att av bara blev bli blir da dag de där deras dessa det detta dig
        din dock du efter eftersom ej eller en er ett för från genom ha hade han har henne hennes hon honom
        hur här i icke inför ingen innan inte jag kan kunde man med mellan men mig min mot mycket någon
        något några när nu och om oss på samma sedan sig sin sina sitt ska skall skulle som så till under
        upp ut utan vad var vara varför varit varje vars vem vi vid vilka vilken vilket""",
    "da": """ad af alle alt anden at blev blive bliver da de dem den denne der deres det dette dig din disse
        dog du efter eller en end er et for fordi fra før ham han hans har havde hende hendes her hos hun
        hvad hvem hver hvilke hvilken hvilket hvis hvor hvordan hvorfor hvornår i ikke ind jeg jer kan kunne
        man mange med meget mellem men mig min mod ned noget nogen nogle når ny nu og også om op os over på
        samme selv sig sin sine skal skulle som så til ud uden under var ved vi vil ville vor være været""",
    "no": """alle at av ble bli blir da de deg dem den denne der deres det dette di din disse du eller en
        enn er et ett etter for fordi fra før ha hadde han hans har henne hennes her hos hun hva hvem hver
        hvilke hvilken hvilket hvis hvor hvordan hvorfor i ikke inn ingen jeg kan kunne man mange med meg
        mellom men min mot mye når noe noen nå og også om opp oss over på samme seg selv sin sine sitt skal
        skulle slik som så til ut uten under var ved vi vil ville være vært""",
    "fi": """ei eivät ehkä eli emme en enää että hän häneen hänen he heidän hei ilman itse ja jo joiden
        joita jokainen joka jolla jolloin jonka jos joskus jossa josta jota jotka jotta kaikki kanssa kautta
        kenen keskellä koko koska koskaan kuin kuinka kuitenkin kuka kun lähes lisäksi luona me mihin mikä
        miksi millainen milloin minä missä mistä mitä mitkä moni muita mukaan mutta muun myös myöskin ne
        niiden niin niitä noin nyt oli olivat olla ollut on ovat paljon pitkin poikki se sekä sen siellä
        siihen siinä siis siitä sillä sinä sitä tai tämä tämän tässä tästä tätä te tuo vaan vai vaikka vain
        vielä voi voidaan voivat yhä yli""",
    "hu": """a abban ahhoz ahogy ahol aki akik akkor alatt általában amely amelyek amelyet ami amit amíg
        amikor át az azért azok azon azonban azt aztán azzal be bár belül ben benne csak de e ebben egy
        egyes egyéb egyik el ellen elő először előtt én ennek és ez ezek ezen ezért ezt fel felé ha hanem
        hány hogy hogyan hol honnan hova igen így illetve ilyen is itt jól kell ki kicsoda közben közé
        között közül le legyen lehet lenne lesz lett maga már más meg mely melyik melyek mennyi mert mi míg
        miért mikor milyen mind minden mindig mint mit miután most nagyon ne nekem néhány nélkül nem nincs ő
        ők olyan össze ott pedig s saját se sem semmi sok során szerint számára tehát több úgy után vagy
        vagyis valaki valami van vannak volt voltak vele viszont""",
    "ro": """a acea aceasta această aceea acei aceia acel acela acele acelea acest acesta aceste acestea
        acestei acestor acestui acești aceștia acolo acum ai aici al ale altă alte alți am ar are asta
        astfel asupra atât atunci au avea avut azi bine ca că când care cărei căror cărui cât câte câți ce
        cea ceea cei cel cele celor chiar ci cine cu cum da dar dacă de deci decât deja deși din dintre doar
        după ea ei el ele era erau este eu fără fi fie fiecare fiind fost iar ii îi îl îmi în încât înainte
        între într își la le li lor lui mai mult mulți ne nici nimic noi nostru nu o ori pe pentru peste
        poate prin sa să sale sau său se sub sunt și tot toate toți totuși tu un una unde unei unele unor
        unui unul va vor voi""",
    "pl": """a aby ale albo ani aż bardzo bez bo by był była było były być ci co czy czyli dla dlaczego do
        dwa gdy gdyby gdzie go i ich ile im inne inny ja jak jaka jakie jaki jako je jeden jednak jego jej
        jemu jest jestem jeszcze jeśli już każdy kiedy kilka komu kto która które którego której który
        którzy ku lecz lub ma mają mi mnie może mój my na nad nam nas nasz nawet nic nich nie niej nim niż
        no o od on ona one oni oraz po pod ponieważ poza przed przez przy roku są się skąd sobie swoje ta
        tak także tam te tego tej ten też to trzy tu tutaj tych tylko tym u w we wam więc wszystko wy z za
        ze że został została""",
    "cs": """a aby aj ale ani asi až bez bude budou by byl byla byli bylo byly být býti ci co což či další
        do dva ho i ich já jak jaká jaké jaký jako je jeho jej její jejich jemu jen jenž ještě ji jiné již
        jsem jsi jsme jsou jste k kam každý kde kdo kdy když ke kolik která které kterého který kteří ku ma
        mají má mezi mi mít mnou mně moc mohou můj může my na nad nám náš ne nebo nech není než nic nich ním
        o od on ona oni ono pak po pod podle pokud pouze potom pro proč proto protože první před přes přesto
        při s se si sice sobě své svou svůj ta tak také takže tam tato te tedy ten tento této tím to toho
        tom tomto tomu tu tuto ty tyto u už v vám váš ve však více vy z za zda zde ze že""",
    "tr": """acaba ama ancak arada aslında ayrıca az bana bazı belki ben benim beri bile bir biraz birçok
        biri biz bizim böyle bu buna bunda bundan bunlar bunları bunların bunu bunun burada çok çünkü da
        daha dahi de değil diğer diye dolayı en gibi göre hangi hangisi hatta hem henüz hep hepsi her
        herhangi hiç için ile ilgili ise işte kadar karşı kendi kendine kendisi kez ki kim kimi kimse mı mi
        mu mü nasıl ne neden nedir nerede nereye niye o olan olarak oldu olduğu olması olmak olsa olup on
        ona ondan onlar onların onu onun öyle oysa pek rağmen sadece sen siz sonra şey şu tarafından tüm
        üzere var ve veya ya yani yerine yine yok zaten""",
    "ca": """a això així al algun alguna als altra altre altres amb aquell aquella aquelles aquells aquest
        aquesta aquestes aquests bé cada com contra d dalt de del dels des després dins e durant el ella
        elles ells els em en encara ens entre era eren és es està estan estat et fa fins fou ha haver havia
        hi ho i ja jo l la les li llavors lo m més meu meva mentre molt molta molts n no nosaltres nostre o
        on pel pels per perquè però poc pot qual qualsevol quals quan quant quants que què qui quin quina
        quines quins s sa se segons sense ser seu seus seva seves si sobre són sota t també tan tant te teu
        tot tota totes tots un una unes uns va van vegada vosaltres""",
    "id": """ada adalah agar akan antara apa apakah atas atau bagaimana bagi bahwa banyak beberapa belum
        berapa bila bisa bukan dalam dan dapat dari dengan di dia harus hingga ia ini itu jika juga kami
        kamu kapan karena ke kepada ketika kita lagi lain lebih maka mana masih mengapa menjadi mereka namun
        oleh pada para paling per pernah pula saat saja sampai sangat saya sebagai sebelum sebuah secara
        sedang sehingga sejak selama seluruh seorang seperti serta setelah setiap siapa suatu sudah tanpa
        telah tentang terhadap tersebut tetapi tidak untuk yaitu yakni yang""",
    "et": """aga ainult alates all alla enam enne ega ehk ei eks enda ent et ette ja jah juba juures ka kas
        kelle kes kogu koos kui kuidas kuigi kuna kus kuhu kust läbi ma me meie mida mil millal mille
        millest milline mina mingi mis miks mitu muu mõned need neid nende nii ning nüüd oli olid olla olema
        oleks oma on peale pole pärast saab sai samuti see seda sel selle selles sellest siis siin sina ta
        tema temal tuli tõttu või vaid veel väga üks üle kuni poolt ole""",
    "lt": """ant apie ar arba aš be bei bet bus būti būtų buvo dar dėl iki ir iš ją jai jais jam jau jei
        jeigu ji jie jiems jis jo jog jos jų jums kad kada kai kaip kam kas kiek kiekvienas kita kiti kito
        ką kokia kokie koks kol kur kuri kurie kurio kuris kurių labai mano mes mums mus nei nes nėra net
        nors nuo o pagal pas pat per po prie prieš sau savo su ta tačiau tai taip tarp tas tau tie tik to
        todėl tu tuo turi už va vis visi visų yra kodėl""",
    "ga": """ach ag agus an aon ar arb as ba bhí bheith cad cé cén chuig conas dá de do don faoi féin fós
        gach gan go gur i iad idir in is ina le leis lena mar mé mo muid ná nach ní níl níor nó ó roimh sé
        seo sí sin siad sna sula tá thar tú um bhfuil éigin eile freisin""",
    "eu": """al arabera are askoren asko baina baino bait baita bat batean batek batekin baten batera
        batetik batzuk behar bere bera berak beraz bezala bi da dago dagoen de den dela diren dira dute du
        duen duten edo egin egiten eta ere ez gabe guztiak hala hau hauek hemen hori horiek hura izan izango
        izaten nola non nor nork noiz oso ordea ondoren zein zen zer zergatik ziren zuen zuten zenbat""",
    "vi": """ai bao bị bởi cả các cái cần càng chỉ cho chưa chúng có của cùng cũng đã đang đây để đến đều
        điều do đó được gì hay hoặc khi không là lại lên luôn mà mỗi một nào này nên nếu ngay như nhưng
        những nơi nữa ở phải qua ra rằng rất rồi sau sẽ so sự tại tất thì theo thế tôi trên trong tuy từ và
        vẫn vào vậy về vì việc với vừa""",
    "hr": """ali ako bez bi bih bila bili bilo bio biti bude budu da dok do dva ga gdje i iako ih ili im ima
        imaju iz ja je jedan jedna jer jesu joj još ju kada kako kao koja koje koji kojih kojim kojoj koju
        kroz li među mi mogu može na nad nakon nam nas ne nego neki nema nije ništa no njih njega o od oko
        on ona oni ono onda osim ova ove ovaj ovo po pod pored prema pri prije s sa sam samo se što su sva
        sve svi svoje ta tada taj tako također te ti to tome u uz va više vi vrlo za zašto zbog će ćemo""",
    "ru": """а без более больше будет будто бы был была были было быть в вам вас ведь во вот все всего всех
        всю вы где да даже два для до другой его ее её ей ему если есть еще ещё же за зачем здесь и из или
        им иногда их к как какая какие каким каких какого какое какой каком какую ко когда кого кому конечно
        кто куда ли лучше между меня мне много может можно мой моя мы на над надо наконец нас не него нее
        ней нельзя нет ни нибудь никогда ним них ничего но ну о об один он она они оно опять от откуда перед
        по под после потом потому почему почти при про раз разве с сам свою себе себя сейчас сколько со
        совсем так также такой там тебя тем теперь то тогда того тоже только том тот тут ты у уж уже чего
        чей чем через что чтоб чтобы чуть чьей чьи чья эта эти этим этих это этого этой этом этот эту я""",
    "uk": """а або адже але багато без би був була були було бути в вам вас ви вже від він вона вони воно
        все всі втім де для до дуже є ж з за зі й його йому її їй їм їх і із інших коли крім кого лише між
        мене мені ми може на над нам нас не нею ні ніж о об однак он перед під після по при про саме себе
        серед собі так також та такий там те ти тим тих то тобто тому той тут у хоча хто це цей ці цього
        цьому цих чи чого чому що щоб щодо як яка яке який яких якого якщо які""",
    "bg": """а ако ала без беше би бил била били бъде в вас ве ви все всички във вие го да дали до докато
        докога дори е едва един една едно за защо защото и из или им има й как каква какво какъв като когато
        когото която които който което към къде ли ме между ми мен много му на над най направи напред нас не
        него нея ни ние никой но някои някой обаче около освен от отново по под поради после пред преди през
        при с са само се сега си след според сте съм със също т така такава там те тези той това този тогава
        толкова точно трябва тук тя тях у че чрез ще щом я""",
    "sr": """а али ако без би била били било бити био буде ће да до док где га и иако из или им има их још
        ја је једна један јер јесу јој како као када која које који којих којим којој кроз ли међу ми могу
        може на над након не него нека неки нема није ни них ово овај од око он она они оно осим по под
        после поред пре према при са сам само се су сва све сви своје та тада тај тако такође те ти то томе
        у уз више за због зашто што""",
    "el": """αλλα αλλά αν αντι αντί απο από αυτα αυτά αυτες αυτές αυτη αυτή αυτο αυτό αυτοι αυτοί αυτος
        αυτός αυτου αυτού αυτους αυτούς αυτων αυτών για γιατι γιατί δε δεν εαν εάν ειμαι είμαι ειναι είναι
        εκει εκεί ενα ένα ενας ένας ενος ενός ενω ενώ επι επί επισης επίσης η ή ηταν ήταν θα και κατα κατά
        κι μα με μεσα μέσα μετα μετά μεταξυ μεταξύ μη μην μια μία μου να ο οι ολα όλα ομως όμως οπου όπου
        οπως όπως οποια οποία οποιο οποίο οποιος οποίος οσο όσο οταν όταν οτι ότι ουτε ούτε παρα παρά πιο
        ποια ποιος ποιες ποιο ποιοι ποτε πότε που πού πριν προς πως πώς σαν σε στα στη στην στις στο στον
        στους στων συν τα την της τι τί τις το τοι τον τοτε τότε του τους των ως""",
    "ar": """إذ إذا إلا إلى ألا أما أن أنا أنت أنه أنها أو أي أية أين إن إنه أيضا أيضًا الذي الذين التي
        اللذان اللتي اللواتي بأن بعد بعض بل به بها بين تحت تكون تلك ثم حتى حول حيث خلال دون ذلك سوف ضد عبر
        عن عند عندما على عليه عليها غير فقط في فيه فيها قبل قد كان كانت كانوا كل كم كما كيف كيفية لا لأن لكن
        لم لماذا لن له لها لهم لو ليس ليست ما ماذا متى مثل مع مما من منذ منه منها نحن نحو هذا هذه هؤلاء هل
        هم هنا هناك هو هي و وأن وقد وكان وكانت ولا ولم وما ومن وهو وهي يا يكون""",
    "fa": """آن آنها آنچه از است اما اگر ام ان او ای این اینکه با باید بر برای بسیار به بود بودند بوده بین
        تا تر ترین تنها جا چرا چند چه چون چگونه چیست حتی خواهد خود خیلی در داد دارد دارند داشت دو دیگر را
        روی زیر سپس شد شدند شده شود طور طی علیه که کدام کرد کردن کردند کرده کنند کند کی کجا ما مانند مورد می
        میان نمی نه نیز نیست ها های هر هم همان همه همین هنگام هیچ و ولی پس پیش یا یک""",
    "ur": """اب آپ اس اسے اسی اگر ان انہوں انہیں اور ایک بھی بہت پر تک تو تھا تھی تھے جب جس جن جو جا جاتا
        جہاں دو دیا دی ساتھ سب سکتا سے طرح طور کا کب کر کرتا کرتے کرنے کسی کو کون کوئی کہ کہا کی کیا کیسے
        کیوں کے گئی گئے گیا لئے لیے لیکن میں نہ نہیں نے وہ ہم ہو ہوا ہوئی ہوئے ہوتا ہوتی ہے ہیں ہی یا یہ
        یہاں""",
    "he": """אבל או אותה אותו אותם אז אחר אחרי אך אין איך איפה אל אלא אלה אם אני אף אפשר את אתה בגלל בו בין
        גם הוא היא היה היו היתה הם הן זאת זה זו יותר יש כאשר כדי כי כך כל כמה כמו כן לא לאחר לה להם לו לי
        ללא למה לפני מאוד מה מי מתי נגד על עוד עד עם עצמו פי רק של שלא שלה שלו שלהם תחת""",
    "hi": """अंदर अत अपना अपनी अपने अब अभी आदि आप इत्यादि इन इनका इनकी इनके इस इसका इसकी इसके इसमें इसी इसे
        उन उनका उनकी उनके उनको उन्हें उन्होंने उस उसका उसकी उसके उसी उसे एक एवं ऐसा ऐसी ऐसे और कई कब कर करता
        करती करते करना करने करें कहाँ कहां का कि कितना कितनी कितने किन किस किसका किसकी किसके किसने किसी किसे
        की कुछ के को कोई कौन कौनसा क्या क्यों गई गए गया चाहिए जब जहाँ जहां जा जाता जाती जाते जाने जिन जिनका
        जिनकी जिनके जिस जिसका जिसकी जिसके जिसमें जिसे जैसा जैसी जैसे जो तक तथा तब तरह तो था थी थीं थे दिया
        दी दे दो दोनों द्वारा नहीं ना ने पर पहले पास फिर बहुत बाद बारे भी मगर मुझे में मैं यदि यह यहाँ यहां
        या यानी ये रखें रहा रही रहे लिए लेकिन व वह वहाँ वहां वाला वाली वाले वे सकता सकती सकते सब सभी साथ से
        सो ही हुआ हुई हुए हूँ है हैं हो होता होती होते होना होने""",
    "ne": """अझै अनि अनुसार अन्य अब अर्को आदि आफू आफ्नो उनको उनी उनीहरू उहाँ एउटा एक एवं कति कसरी कसले कहाँ
        कहिले का कि किन कुन कुनै के केही को कोही गरी गरे गरेको गरेका गर्न गर्ने छ छन् छैन जब जसको जसले जस्तो
        जुन जो तथा तर तिनी त्यस त्यसको त्यो थियो थिए दिन दुई देखि द्वारा नै पनि पछि पर्छ बाट बारे भए भएको
        भने भन्ने म मा यदि यस यसको यसले यो र रहेको रूपमा लागि ले लाई वा संग सबै साथ सो हरू हुन हुने हुन् हो""",
    "mr": """अशा असा असे आणि आता आपला आपल्या आहे आहेत एक एका काय कधी करण्यात करून का काही किंवा किती की कुठे
        केला केली केले कोण कोणत्या कोणते कसे चा ची चे जर जी जे जो झाला झाली झाले तर तसेच ता ती ते तो त्या
        त्यांचा त्यांच्या त्यांना त्याच्या त्याने त्याला था नाही ने परंतु पण पासून म्हणून मध्ये मात्र मी या
        यांच्या यांनी याचे येथे व वर सर्व सुरू हा ही हे होता होती होते होणार""",
    "ta": """அது அதன் அந்த அவர் அவர்கள் அவன் அவள் அல்லது ஆகும் ஆனால் இது இந்த இதன் இருந்து இருந்த இல்லை உள்ள
        எந்த என என்ற என்று என்ன எப்படி எப்போது எங்கு எங்கே எத்தனை ஏன் ஒரு கொண்டு செய்து தன் தான் நான் நாம்
        நீ பல பின் பிற போன்ற மற்றும் மிக முதல் யார் வரை வேண்டும்""",
    "hy": """այդ այլ այն այս դու դուք եմ են ենք ես եք է էի էին էինք էիր էիք էր ըստ թ ի ին իսկ իր կամ համար
        հետ հետո մենք մեջ մի ն նա նաև նրա նրանք որ որը որոնք որպես ու ում պիտի վրա և ինչ ով որտեղ երբ
        ինչու""",
}


def _folded(text: str) -> frozenset[str]:
    once = unicodedata.normalize("NFKC", text).casefold()
    return frozenset(unicodedata.normalize("NFKC", once).split())


STOP_WORDS: Mapping[str, frozenset[str]] = MappingProxyType(
    {code: _folded(text) for code, text in _LISTS.items()}
)
"""By ISO 639-1 code."""
